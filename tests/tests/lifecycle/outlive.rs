//! The methods of an ordinary user: daemons that a command leaves, and steerings within steerings.

use lab::{Family, Service, Status, eventually};
use steer_tests::Records;

use crate::scene::{Method, Scene};

/// Leaves a daemon, twice forked and in a session of its own, that has a connection; the command
/// ends when it stands. Told to by a file, the daemon says what has become of it and of others.
const DAEMON: &str = "\
import os, socket, sys, time
to, folder = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
ready, done = os.pipe()
if os.fork() > 0:
    os.close(done)
    os.read(ready, 1)
    sys.exit(0)
os.setsid()
if os.fork() > 0:
    os._exit(0)
s = socket.create_connection(to, timeout=10)
s.sendall(b'x')
s.recv(1)
for stream in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
os.close(ready)
os.close(done)
while not os.path.exists(folder + '/go'):
    time.sleep(0.02)
said = []
def attempt(name, act):
    try:
        said.append(name + ' ' + repr(act()))
    except OSError as error:
        said.append(name + ' failed')
def old():
    s.sendall(b'y')
    return s.recv(1)
attempt('old', old)
for _ in range(5):
    attempt('new', lambda: socket.create_connection(to, timeout=5))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(1)
attempt('datagram', lambda: (u.sendto(b'z', to), u.recv(9)))
with open(folder + '/said.part', 'w') as out:
    out.write('\\n'.join(said))
os.rename(folder + '/said.part', folder + '/said')
";

fn daemon(method: Method) {
    lab::require!(Namespaces, Program("python3"));
    let scene = Scene::new("cmddaemon");
    let folder = scene.site.path(".").display().to_string();
    let (ip, port) = (scene.at.ip().to_string(), scene.at.port().to_string());
    let command = ["/usr/bin/python3", "-c", DAEMON, &ip, &port, &folder];
    let run = scene.run(method).args(command).run();
    assert_eq!(run.status, Status::Exited(0), "{run:#?}");
    assert_eq!(scene.server.seen().len(), 1);
    scene.witness.clear();
    scene.site.write("go", "");
    let said = scene.site.path("said");
    let said = eventually("the daemon says how it fared", || {
        std::fs::read_to_string(&said).ok()
    });
    let fared: Vec<_> = said.lines().collect();
    let failed = [
        &["old failed"][..],
        &["new failed"; 5],
        &["datagram failed"],
    ]
    .concat();
    // A connection that was there may have been ended in order.
    let fared: Vec<_> = fared
        .into_iter()
        .map(|line| {
            if line == "old b''" {
                "old failed"
            } else {
                line
            }
        })
        .collect();
    assert_eq!(fared, failed);
    assert_eq!(scene.outside(), []);
    eventually("the daemon has ended", || {
        scene.commands().is_empty().then_some(())
    });
    scene.clean();
    scene.wait_nothing_left();
}

#[test]
fn a_daemon_that_a_command_leaves_has_no_way_out_netns() {
    daemon(Method::Netns);
}

#[test]
fn a_daemon_that_a_command_leaves_has_no_way_out_seccomp() {
    daemon(Method::Seccomp);
}

#[test]
fn a_daemon_that_a_command_leaves_has_no_way_out_preload() {
    daemon(Method::Preload);
}

/// Prints a greeting.
const GREETED: &str = "\
import socket, sys
print(socket.create_connection((sys.argv[1], 9), timeout=10).recv(9).decode())
";

/// Who of two steerings, one inside the other, has what the command connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Both,
    /// The inner one is refused, or its command is.
    Neither,
}

fn of(outer: Method, inner: Method) -> Has {
    match (outer, inner) {
        // Supervised programs are kept from namespaces of their own and from another supervisor.
        (Method::Seccomp, Method::Netns | Method::Seccomp) => Has::Neither,
        // The outer library would ask its own engine, past the inner one or in vain.
        (Method::Preload, Method::Netns | Method::Seccomp) => Has::Neither,
        _ => Has::Both,
    }
}

/// Whatever a command inside does, it does not get past the outer steering.
fn nested(outer: Method) {
    lab::require!(Namespaces, Program("python3"));
    for inner in Method::ALL {
        let scene = Scene::new("nested");
        let server = scene
            .site
            .srv
            .serve(9, Service::Banner(b"greeting\n".to_vec()));
        let to = scene.site.srv.at(Family::V4, 9);
        let (log, ip) = (scene.site.path("inner.json"), to.ip().to_string());
        let steer = scene.site.path("steer");
        let run = scene.run(outer).arg(steer);
        let run = run.args(["run", "-m", inner.name(), "--log"]).arg(&log);
        let run = run.args(["--", "/usr/bin/python3", "-c", GREETED, &ip]);
        let output = run.run();
        let pair = format!("{} around {}: {output:#?}", outer.name(), inner.name());
        let served = |records: Records| {
            let all = records.all();
            let served = all.iter().filter(|it| it["outcome"] == "ok");
            served
                .filter(|it| it["destination"] == to.to_string())
                .count()
        };
        let counts = (served(scene.site.records()), served(Records::of(log)));
        let has = of(outer, inner);
        let wanted = match has {
            Has::Both => (1, 1),
            Has::Neither => (0, 0),
        };
        assert_eq!(counts, wanted, "{pair}");
        assert_eq!(server.seen().len(), wanted.0, "{pair}");
        let greeted = output.stdout == "greeting\n\n";
        assert_eq!(greeted, has != Has::Neither, "{pair}");
        assert_eq!(output.status == Status::Exited(0), greeted, "{pair}");
        scene.wait_nothing_left();
    }
}

#[test]
fn a_steering_inside_does_not_get_past_the_outer_one_netns() {
    nested(Method::Netns);
}

#[test]
fn a_steering_inside_does_not_get_past_the_outer_one_seccomp() {
    nested(Method::Seccomp);
}

#[test]
fn a_steering_inside_does_not_get_past_the_outer_one_preload() {
    nested(Method::Preload);
}
