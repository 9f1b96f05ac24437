//! curl, Python, nc and git.

use std::fs;

use lab::{Family, Proc, Program, Service};

use crate::site::Site;
use crate::{By, same_by};

#[test]
fn curl_gets_the_same_bytes() {
    lab::require!(Namespaces, Cgroup2, Program("curl"), Program("sha256sum"));
    let site = Site::new("curl");
    let _server = site.srv.serve(80, Service::Http);
    for family in Family::BOTH {
        let at = site.srv.at(family, 80);
        same_by(&site, &By::ALL, at, |program| {
            // Down, up, and twice on one connection.
            let script = format!(
                "set -e; curl -sS --fail http://{at}/bytes/1000000 | sha256sum; \
                 head -c 300000 /dev/zero | curl -sS --fail -T - http://{at}/digest \
                 -H 'Transfer-Encoding:' -H 'Content-Length: 300000'; \
                 curl -sS --fail http://{at}/bytes/10 http://{at}/bytes/20 | sha256sum"
            );
            program.args(["sh", "-c", &script])
        });
    }
}

#[test]
fn python_urllib_gets_the_same_bytes() {
    lab::require!(Namespaces, Cgroup2, Program("python3"));
    const SCRIPT: &str = "\
import hashlib, sys, urllib.request
data = urllib.request.urlopen(sys.argv[1] + '/bytes/500000').read()
print(len(data), hashlib.sha256(data).hexdigest())
sent = urllib.request.Request(sys.argv[1] + '/digest', data=b'x' * 100000)
print(urllib.request.urlopen(sent).read().decode())
";
    let site = Site::new("urllib");
    let _server = site.srv.serve(80, Service::Http);
    for family in Family::BOTH {
        let at = site.srv.at(family, 80);
        same_by(&site, &By::ALL, at, |program| {
            program.args(["python3", "-c", SCRIPT, &format!("http://{at}")])
        });
    }
}

/// A program that looks closely: its own idea of the peer, half-close, and a non-blocking connect.
#[test]
fn python_sockets_see_no_difference() {
    lab::require!(Namespaces, Cgroup2, Program("python3"));
    const SCRIPT: &str = "\
import select, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
plain = socket.create_connection((host, port), 10)
print(plain.getpeername()[:2], plain.getsockname()[0] if 'own' in sys.argv else '')
plain.sendall(b'half a word')
plain.shutdown(socket.SHUT_WR)
print(b''.join(iter(lambda: plain.recv(100), b'')))
busy = socket.socket(plain.family)
busy.setblocking(False)
print(busy.connect_ex((host, port)) in (0, 115))
select.select([], [busy], [], 10)
print(busy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
busy.send(b'in a hurry')
select.select([busy], [], [], 10)
print(busy.recv(100))
";
    let site = Site::new("sockets");
    let _server = site.srv.serve(7, Service::Echo);
    for family in Family::BOTH {
        let at = site.srv.at(family, 7);
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        let script = ["python3", "-c", SCRIPT, &host, &port];
        same_by(&site, &By::REWRITING, at, |program| {
            program.args(script).arg("own")
        });
        // It is connected to the engine, on this host, and its own address says so.
        same_by(&site, &[By::Ebpf], at, |program| program.args(script));
    }
}

/// Both speak first, each in its turn.
#[test]
fn nc_talks_with_a_server_that_speaks_first() {
    lab::require!(Namespaces, Cgroup2, Program("nc"));
    let site = Site::new("nc");
    let banner = b"220 ready when you are\r\n".to_vec();
    let _server = site.srv.serve(25, Service::Banner(banner));
    for family in Family::BOTH {
        let at = site.srv.at(family, 25);
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        same_by(&site, &By::TRANSPARENT, at, |program| {
            program
                .args(["nc", "-N", &host, &port])
                .input("a line\nand another\n")
        });
    }
}

/// Serves a folder on a port of the servers' host, in both families.
fn serve_folder(site: &Site, folder: &std::path::Path, port: u16) -> Proc {
    let server = site
        .srv
        .program("python3")
        .args(["-u", "-m", "http.server", &port.to_string(), "--bind", "::"])
        .arg("--directory")
        .arg(folder)
        .spawn();
    server.wait_line(|line| line.starts_with("Serving HTTP"));
    server
}

#[test]
fn git_clones_the_same_repository() {
    lab::require!(Namespaces, Cgroup2, Program("git"), Program("python3"));
    let site = Site::new("git");
    let folder = site.path("served");
    fs::create_dir(&folder).expect("our directory can be written");
    const MAKE: &str = "\
set -e
git init -q -b main work
cd work
head -c 400000 /dev/urandom > noise
for n in 1 2 3; do
    echo $n > file; git add .
    git -c user.name=n -c user.email=e@example.com commit -q -m commit-$n
done
git tag v1
cd ..
git clone -q --bare work repo.git
git -C repo.git update-server-info
";
    let git = |program: Program| {
        let program = program.env("HOME", site.path("home"));
        program.env("GIT_CONFIG_NOSYSTEM", "1")
    };
    let make = Program::new("sh").args(["-c", MAKE]).current_dir(&folder);
    git(make).run().expect_success();
    let _server = serve_folder(&site, &folder, 8000);
    for family in Family::BOTH {
        let at = site.srv.at(family, 8000);
        same_by(&site, &By::ALL, at, |program| {
            let script = format!(
                "set -e; rm -rf clone; git clone -q http://{at}/repo.git clone 2>&1; \
                 git -C clone fsck --full 2>&1; git -C clone log --format='%H %s' v1; \
                 sha256sum clone/noise clone/file"
            );
            let program = program.args(["sh", "-c", &script]);
            git(program.current_dir(site.path("")))
        });
    }
}
