//! Where a program's traffic goes.

use std::net::SocketAddr;

use lab::{Family, Service, require};
use serde_json::json;

use crate::scene::{Scene, as_each_user};

/// Asks for a greeting by TCP and for an echo by UDP, and says what it got.
fn asks(tcp: SocketAddr, udp: SocketAddr) -> String {
    format!(
        "import socket, os\n\
         family = socket.getaddrinfo('{ip}', 9)[0][0]\n\
         s = socket.socket(family); s.settimeout(5); s.connect(('{ip}', {tcp}))\n\
         print('from', s.getpeername()[:2], s.recv(100).decode())\n\
         u = socket.socket(family, socket.SOCK_DGRAM); u.settimeout(5)\n\
         u.sendto(b'datagram', ('{ip}', {udp})); d, a = u.recvfrom(100)\n\
         print('from', a[:2], d.decode())\n\
         print('user', os.getuid())",
        ip = tcp.ip(),
        tcp = tcp.port(),
        udp = udp.port(),
    )
}

#[test]
fn every_destination_is_reached_and_recorded_as_it_was_asked_for() {
    require!(Root, Program("python3"));
    as_each_user("reach", |scene| {
        let srv = &scene.stage.srv;
        let _tcp = srv.serve(443, Service::Banner(b"greeting".to_vec()));
        let _udp = srv.serve_udp(443);
        for family in Family::BOTH {
            let to = srv.at(family, 443);
            let said = scene.python(&[], &asks(to, to)).run().expect_success();
            let from = format!("from ('{}', 443) ", to.ip());
            assert!(said.contains(&format!("{from}greeting")), "{said}");
            assert!(said.contains(&format!("{from}datagram")), "{said}");
            assert!(said.contains(&format!("user {}", scene.user)), "{said}");
            let records = scene.records().wait("both", |records| {
                let there = |r: &&steer_tests::Record| r["destination"] == to.to_string();
                records.iter().filter(there).count() == 2
            });
            let there = records
                .iter()
                .filter(|r| r["destination"] == to.to_string());
            for record in there {
                assert_eq!(record["method"], "netns", "{record:?}");
                assert_eq!(record["outcome"], "ok", "{record:?}");
                assert_eq!(record["upstream"], "direct", "{record:?}");
                if record["protocol"] == "tcp" {
                    assert_eq!(record["uid"], json!(scene.user), "{record:?}");
                    assert_eq!(record["received"], json!(8), "{record:?}");
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_reached_is_an_error_of_the_program() {
    require!(Root, Program("python3"));
    as_each_user("refused", |scene| {
        for family in Family::BOTH {
            let to = scene.stage.at(family, 9);
            let script = format!(
                "import socket\n\
                 family = socket.getaddrinfo('{ip}', 9)[0][0]\n\
                 for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n\
                 \x20   s = socket.socket(family, kind); s.settimeout(5)\n\
                 \x20   try: s.connect(('{ip}', 9)); s.send(b'x'); print('got', s.recv(9))\n\
                 \x20   except OSError as e: print(type(e).__name__)",
                ip = to.ip(),
            );
            let said = scene.python(&[], &script).run().expect_success();
            let lines: Vec<&str> = said.lines().collect();
            // The connection stands before the engine has dialled.
            let stream = ["ConnectionResetError", "BrokenPipeError"];
            assert!(stream.contains(&lines[0]), "{said}");
            assert_eq!(lines[1], "ConnectionRefusedError", "{said}");
        }
    });
}

#[test]
fn icmp_groups_and_links_are_refused() {
    require!(Root, Program("python3"));
    as_each_user("many", |scene| {
        // Every address is local inside: the kernel would answer by itself.
        let script = "\
import socket
def tries(what, make):
    try: make(); print(what, 'passed')
    except OSError as e: print(what, type(e).__name__)
def ping(family, proto, to, packet):
    s = socket.socket(family, socket.SOCK_DGRAM, proto); s.settimeout(2)
    s.sendto(packet, (to, 0)); s.recv(99)
def send(to):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.sendto(b'x', (to, 9))
tries('ping', lambda: ping(socket.AF_INET, 1, '192.0.2.1', b'\\x08' + bytes(7)))
tries('ping6', lambda: ping(socket.AF_INET6, 58, '2001:db8::1', b'\\x80' + bytes(7)))
tries('group', lambda: send('224.0.0.251'))
tries('everyone', lambda: send('255.255.255.255'))
tries('link', lambda: socket.create_connection(('fe80::1%lo', 80), timeout=2))
";
        let said = scene.python(&[], script).run().expect_success();
        assert_eq!(said.matches("PermissionError").count(), 5, "{said}");
    });
}

const RECORDS: [&str; 1] = ["host-record=www.lab.example,192.0.2.80"];

const LOOKS_UP: &str = "import socket; print(socket.gethostbyname('www.lab.example'))";

/// Looks a name up by way of a resolver at an address of a host.
fn looks_up(scene: &Scene, host: &lab::Host, at: &str, flags: &[&str]) {
    let _resolver = scene.resolve(host, at, &RECORDS);
    let said = scene.python(flags, LOOKS_UP).run().expect_success();
    assert_eq!(said.trim(), "192.0.2.80", "{at} {flags:?}");
    let records = scene.records().wait("a query", |records| {
        records
            .iter()
            .any(|r| r["app"] == "dns" && r["destination"] == format!("{at}:53"))
    });
    assert!(!records.is_empty());
}

#[test]
fn dns_is_caught_whatever_the_settings_say() {
    require!(Root, Program("python3"), Program("dnsmasq"));
    as_each_user("dns", |scene| {
        let (app, srv) = (&scene.stage.app, &scene.stage.srv);
        std::fs::write(scene.path("capture.yaml"), "traffic: { dns: capture }\n")
            .expect("our directory can be written");
        let remote = srv.address(Family::V4).to_string();
        for flags in [&[][..], &["-c", "capture.yaml"]] {
            looks_up(scene, srv, &remote, flags);
            // A resolver of the host itself, where the command has nobody.
            looks_up(scene, app, "127.0.0.53", flags);
        }
    });
}

#[test]
fn any_resolver_can_be_asked() {
    require!(Root, Program("dig"), Program("dnsmasq"));
    as_each_user("dig", |scene| {
        let srv = &scene.stage.srv;
        for family in Family::BOTH {
            let at = srv.address(family).to_string();
            let _resolver = srv.resolve(&[srv.address(family)], &RECORDS);
            for how in ["+notcp", "+tcp"] {
                let words = [
                    "dig",
                    "+short",
                    "+tries=1",
                    how,
                    &format!("@{at}"),
                    "www.lab.example",
                ];
                let said = scene.run(&[], &words).run().expect_success();
                assert_eq!(said.trim(), "192.0.2.80", "{at} {how}");
            }
        }
    });
}

#[test]
fn a_flow_beyond_the_limit_is_told_so() {
    require!(Root, Program("python3"));
    as_each_user("limit", |scene| {
        let _udp = scene.stage.srv.serve_udp(443);
        for (family, kind, error) in [
            (Family::V4, "AF_INET", "EHOSTUNREACH"),
            (Family::V6, "AF_INET6", "EACCES"),
        ] {
            let script = format!(
                "import collections, errno, socket\n\
                 said = collections.Counter(); kept = []\n\
                 for _ in range(60):\n\
                 \x20   s = socket.socket(socket.{kind}, socket.SOCK_DGRAM); s.settimeout(5)\n\
                 \x20   s.connect(('{ip}', 443)); s.send(b'echo'); kept.append(s)\n\
                 \x20   try: said[s.recv(99).decode()] += 1\n\
                 \x20   except OSError as e: said[errno.errorcode.get(e.errno, 'silence')] += 1\n\
                 print(*sorted(said.keys()))",
                ip = scene.stage.srv.address(family),
            );
            let steer = scene.words(&[], &["python3", "-c", &script]);
            let few_descriptors = [&["prlimit", "--nofile=1024:1024"], &steer[..]].concat();
            let said = scene.program(&few_descriptors).run().expect_success();
            assert_eq!(said.trim(), format!("{error} echo"));
        }
    });
}
