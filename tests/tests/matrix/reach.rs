//! A steered program reaches what it asks for, and sees no difference.

use std::net::SocketAddr;

use lab::{End, Family, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

pub(crate) fn a_server_is_reached_over_ipv4(mount: Mount) {
    reached(mount, Family::V4);
}

pub(crate) fn a_server_is_reached_over_ipv6(mount: Mount) {
    reached(mount, Family::V6);
}

/// The server is called at the address that the program asked for, and the record says it.
fn reached(mount: Mount, family: Family) {
    let stage = Stage::new("reach");
    let server = stage.srv.serve(7, Service::Echo);
    let to = SocketAddr::new(stage.another_address(family, 9), 7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());

    let mut client = rig.connect(to).expect("the server listens");
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    client.finish();
    assert_eq!(client.receive_all(), (Vec::new(), End::Fin));

    let seen = server.wait_ended(1);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].local, to);
    assert_eq!(seen[0].peer.ip(), stage.app.address(family));
    assert_eq!((seen[0].received, seen[0].end), (5, End::Fin));

    let record = rig.records().wait_to(to);
    let keys: Vec<_> = record.keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS);
    assert_eq!(record["method"], mount.method());
    assert_eq!(record["protocol"], "tcp");
    assert_eq!(record["client"], client.local().to_string());
    assert_eq!(record["upstream"], "direct");
    assert_eq!(record["outcome"], "ok");
    assert_eq!((&record["sent"], &record["received"]), (&5.into(), &5.into()));
}

/// For programs that can only be given another address.
pub(crate) fn a_forward_port_leads_to_its_destination(mount: Mount) {
    let stage = Stage::new("forward");
    let server = stage.srv.serve(7, Service::Echo);
    let to = stage.at(Family::V6, 7);
    let policy = format!("forward: [ {{ listen: \"127.0.0.1:15432\", to: \"{to}\" }} ]\n");
    let rig = Rig::start(&stage.app, mount, &Setup::policy(policy));
    let port = ([127, 0, 0, 1], 15_432).into();
    let mut client = rig.dial(port).expect("the port is there");
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    client.finish();
    assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    assert_eq!(server.wait_ended(1)[0].local, to);
    let record = rig.records().wait_to(to);
    assert_eq!(record["client"], client.local().to_string());
    assert_eq!(record["outcome"], "ok");
}

pub(crate) fn the_bytes_are_those_of_an_unsteered_client(mount: Mount) {
    let stage = Stage::new("bytes");
    let (server, to) = stage.serve(80, Service::Http);
    let request = format!("GET /a?b=c HTTP/1.1\r\nhost: {to}\r\nX-Odd:  two  spaces\r\nConnection: close\r\n\r\n");

    let mut plain = stage.app.connect(to).expect("the server listens");
    plain.send(request.as_bytes()).expect("the connection stands");
    let unsteered = plain.receive_all();
    assert!(unsteered.0.starts_with(b"HTTP/1.1 200 OK"));
    plain.finish();
    server.wait_ended(1);

    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(to).expect("the server listens");
    if mount.is_transparent() {
        assert_eq!(client.peer(), to);
    }
    client.send(request.as_bytes()).expect("the connection stands");
    assert_eq!(client.receive_all(), unsteered);

    client.finish();
    let seen = server.wait_ended(2);
    assert_eq!(seen[1].text(), request);
    let record = rig.records().wait_to(to);
    assert_eq!(record["app"], "http1");
}

/// Whether it sniffs or not, the engine must not wait for the client of a server that greets.
pub(crate) fn a_server_that_speaks_first_is_heard_at_once(mount: Mount) {
    let stage = Stage::new("banner");
    let (server, to) = stage.serve(9, Service::Banner(b"220 ready\r\n".to_vec()));
    let sniffing = "rules: [ { match: { host: never.example }, action: reject } ]";
    for setup in [Setup::default(), Setup::policy(sniffing)] {
        let rig = Rig::start(&stage.app, mount, &setup);
        let mut client = rig.connect(to).expect("the server listens");
        assert_eq!(client.receive(11).as_deref(), Ok(&b"220 ready\r\n"[..]));
        client.send(b"QUIT").expect("the connection stands");
        assert_eq!(client.receive(4).as_deref(), Ok(&b"QUIT"[..]));
        client.finish();
        assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
        assert_eq!(rig.records().wait_to(to)["outcome"], "ok");
    }
    let seen = server.wait_ended(2);
    assert!(seen.iter().all(|one| one.received == 4), "{seen:?}");
}

/// A program that asks where it is connected to is told what it asked for.
pub(crate) fn getpeername_shows_the_peer_asked_for(mount: Mount) {
    lab::require!(Program("python3"));
    let stage = Stage::new("peername");
    let _server = stage.srv.serve(7, Service::Echo);
    let _udp = stage.srv.serve_udp(7);
    let [v4, v6] = Family::BOTH.map(|family| stage.srv.address(family).to_string());
    let mapped = format!("::ffff:{v4}");
    let mut meant = vec![("tcp", &v4), ("tcp", &v6), ("tcp", &mapped)];
    if mount.steers_udp() {
        meant.extend([("udp", &v4), ("udp", &v6), ("udp", &mapped)]);
    }
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let words = meant.iter().flat_map(|(kind, ip)| [*kind, ip.as_str()]);
    let python = stage.app.program("python3").args(["-c", PEERS]).args(words);
    let said = rig.run(python).expect_success();
    let expected: String = meant.iter().map(|(kind, ip)| format!("{kind} {ip} 7 echo\n")).collect();
    assert_eq!(said, expected);
    let records = rig.finish();
    assert_eq!(records.len(), meant.len(), "{records:#?}");
}

/// Connects to port 7 of each address, speaks, and says whom it is connected to.
const PEERS: &str = "
import socket, sys
for kind, ip in zip(sys.argv[1::2], sys.argv[2::2]):
    family = socket.AF_INET6 if ':' in ip else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(15)
    s.connect((ip, 7))
    first = s.getpeername()[:2]
    s.send(b'echo')
    answer = s.recv(4).decode()
    assert s.getpeername()[:2] == first
    print(kind, first[0], first[1], answer)
";

pub(crate) fn a_name_is_resolved_by_the_engine(mount: Mount) {
    let stage = Stage::new("name");
    // `localhost` needs no resolver; the server is beside the engine.
    let server = stage.app.serve(8080, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig
        .connect_to_name("localhost", 8080)
        .expect("the server listens");
    client.send(b"x").expect("the connection stands");
    assert_eq!(client.receive(1).as_deref(), Ok(&b"x"[..]));
    drop(client);
    assert!(server.wait_ended(1)[0].local.ip().is_loopback());
    let record = rig.records().wait_to("localhost:8080");
    assert_eq!(record["host"], "localhost");
    assert_eq!(record["host_from"], "connect");
}

/// The keys of a record, which are a contract, in the order of the alphabet.
const KEYS: [&str; 28] = [
    "alpn",
    "app",
    "cgroup",
    "client",
    "command",
    "connection",
    "container",
    "destination",
    "duration_ms",
    "error",
    "exe",
    "gid",
    "host",
    "host_from",
    "kind",
    "method",
    "outcome",
    "pid",
    "protocol",
    "received",
    "requests",
    "rule",
    "sent",
    "sni",
    "time",
    "tls",
    "uid",
    "upstream",
];
