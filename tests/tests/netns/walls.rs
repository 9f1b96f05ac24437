//! What passes the walls of a command's namespaces, and what does not.

use std::net::SocketAddr;

use lab::{Client, Family, Service, Status, require};

use crate::scene::as_each_user;

/// Functions of the scripts: `greet` asks for a greeting, `serve` gives one to whoever comes next.
const TOOLS: &str = "\
import socket, threading, sys
def greet(ip, port):
    try:
        s = socket.create_connection((ip, port), timeout=5); return s.recv(100).decode()
    except OSError as e: return type(e).__name__
def serve(ip, port, word):
    s = socket.socket(socket.AF_INET6 if ':' in ip else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((ip, port)); s.listen()
    def next():
        c, _ = s.accept(); c.sendall(word); c.close(); s.close()
    t = threading.Thread(target=next, daemon=True); t.start(); return t
";

fn script(text: &str) -> String {
    format!("{TOOLS}{text}")
}

#[test]
fn servers_of_the_command_are_reached_by_itself_and_by_nobody_else() {
    require!(Root, Program("python3"));
    as_each_user("own", |scene| {
        let text = script(
            "own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); own.connect(('192.0.2.1', 9))\n\
             for ip in ('127.0.0.1', '127.9.9.9', '::1', own.getsockname()[0]):\n\
             \x20   serve(ip, 7000, b'mine'); print(greet(ip, 7000))\n\
             serve('127.0.0.1', 7000, b'mine'); print('ready', flush=True); sys.stdin.read()",
        );
        let proc = scene.python(&[], &text).spawn();
        proc.wait_line(|line| line == "ready");
        assert_eq!(
            proc.stdout().matches("mine").count(),
            4,
            "{}",
            proc.stdout()
        );
        let outside = scene.app().connect(at(7000));
        assert!(outside.is_err(), "{outside:?}");
        proc.close_input();
        assert_eq!(proc.wait(), Status::Exited(0));
        assert!(scene.records().all().iter().all(|r| r["protocol"] == "udp"));
    });
}

#[test]
fn services_of_the_hosts_loopback_are_reached_when_asked_for() {
    require!(Root, Program("python3"));
    as_each_user("host", |scene| {
        let servers = Family::BOTH.map(|family| {
            let ip = match family {
                Family::V4 => "127.0.0.1".parse(),
                Family::V6 => "::1".parse(),
            };
            let at = SocketAddr::new(ip.expect("an address"), 7001);
            scene.app().serve_at(at, Service::Banner(b"host".to_vec()))
        });
        let text = script(
            "for ip in ('127.0.0.1', '::1'): print(greet(ip, 7001), greet(ip, 7002))\n\
             serve('127.0.0.1', 7001, b'mine').is_alive(); print(greet('127.0.0.1', 7001))",
        );
        let refused = "ConnectionRefusedError";
        for (flags, there, absent) in [
            (&[][..], refused, refused),
            (&["--host-loopback=7001"], "host", refused),
            // What comes to the engine is connected before it has dialled.
            (&["--host-loopback"], "host", "ConnectionResetError"),
        ] {
            let said = scene.python(flags, &text).run().expect_success();
            let line = format!("{there} {absent}");
            // The command's own server comes first.
            let wanted = [line.as_str(), &line, "mine"];
            assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{flags:?}");
        }
        let seen: usize = servers.iter().map(|server| server.seen().len()).sum();
        assert_eq!(seen, 4);
    });
}

#[test]
fn published_ports_lead_in() {
    require!(Root, Program("python3"));
    as_each_user("publish", |scene| {
        let text = script(
            "serve('0.0.0.0', 7003, b'v4'); serve('::1', 7004, b'v6')\n\
             print('ready', flush=True); sys.stdin.read()",
        );
        let flags = ["--publish", "7003", "--publish", "127.0.0.1:7005:7004"];
        let proc = scene.python(&flags, &text).spawn();
        proc.wait_line(|line| line == "ready");
        for (port, word) in [(7003, "v4"), (7005, "v6")] {
            let mut client: Client = scene.app().connect(at(port)).expect("it is published");
            let (bytes, _) = client.receive_all();
            assert_eq!(String::from_utf8_lossy(&bytes), word, "{port}");
        }
        proc.close_input();
        assert_eq!(proc.wait(), Status::Exited(0));
        for to in ["localhost:7003", "localhost:7004"] {
            let record = scene.records().wait_to(to);
            assert_eq!(record["rule"], "publish", "{record:?}");
            assert_eq!(record["received"], 2, "{record:?}");
        }
    });
}

#[test]
fn sockets_by_which_others_would_fetch_are_covered() {
    require!(Root, Program("python3"));
    as_each_user("mask", |scene| {
        let text = "\
import os, socket, subprocess, sys
def listen(path):
    s = socket.socket(socket.AF_UNIX); s.bind(path); os.chmod(path, 0o777); s.listen(); return s
kept = [listen(path) for path in PATHS]
name = 'steer-test-%d' % os.getpid()
kept.append(socket.socket(socket.AF_UNIX)); kept[-1].bind(chr(0) + name); kept[-1].listen()
inner = '''
import socket, sys
for path in sys.argv[2:] + [chr(0) + sys.argv[1]]:
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(path); print('reached', path)
    except OSError as e: print('covered')
'''
sys.exit(subprocess.run(RUN + ['python3', '-c', inner, name] + PATHS).returncode)
";
        let paths = [
            "/run/docker.sock",
            "/run/nscd/socket",
            "/run/dbus/system_bus_socket",
        ];
        let other = scene.path("other").display().to_string();
        let script = format!(
            "RUN = {:?}\nPATHS = {paths:?} + ['{other}']\n{text}",
            scene.words(&[], &[])
        );
        let said = scene.program(&["python3", "-c", &script]);
        let said = said.run().expect_success();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..3], ["covered"; 3], "{said}");
        // What is not on the list stays, and what has no path is of another network.
        assert!(lines[3].starts_with("reached"), "{said}");
        assert_eq!(lines[4], "covered", "{said}");
    });
}

#[test]
fn other_socket_families_are_refused_and_processes_cannot_be_traced() {
    require!(Root, Program("python3"));
    as_each_user("family", |scene| {
        let victim = scene.program(&["sleep", "60"]).spawn();
        let text = format!(
            "import ctypes, os, socket\n\
             try: socket.socket(40, socket.SOCK_STREAM); print('vsock')\n\
             except OSError as e: print(e.errno == 97)\n\
             libc = ctypes.CDLL(None, use_errno=True)\n\
             print(libc.syscall(425, 1, 0), ctypes.get_errno())\n\
             print(libc.ptrace(16, {pid}, 0, 0), ctypes.get_errno())\n\
             print(socket.if_nameindex())",
            pid = victim.pid()
        );
        let said = scene.python(&[], &text).run().expect_success();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines, ["True", "-1 1", "-1 1", "[(1, 'lo')]"], "{said}");
        victim.kill();
    });
}

/// An address of the host's loopback.
fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_port_is_published_once() {
    require!(Root);
    as_each_user("twice", |scene| {
        let flags = ["--publish", "8080", "--publish", "0.0.0.0:8080:80"];
        let output = scene.run(&flags, &["touch", "started"]).run();
        assert_eq!(output.status, Status::Exited(125), "{output:#?}");
        let wanted = "0.0.0.0:8080 is already taken by 127.0.0.1:8080:8080";
        assert!(output.stderr.contains(wanted), "{output:#?}");
        assert!(!scene.path("started").exists());
    });
}
