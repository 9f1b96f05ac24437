//! Bytes that nobody should send close their own connection and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::{Cgroup, Client, End, Failure, Family, Pattern, Service};
use steer_tests::{Mount, Record, Refused, Rig, Setup, Speech, Stage};

use super::identity;

/// Onto the listener itself: the proxy port, or the one that only steered connections may reach.
pub(crate) fn garbage_on_the_listener_closes_that_connection_alone(mount: Mount) {
    let stage = Stage::new("garbage");
    let (_server, to) = stage.serve(7, Service::Echo);
    let mut setup = Setup::default();
    if mount.is_transparent() {
        "listen: { outbound: 15001 }\n".clone_into(&mut setup.policy);
    }
    let rig = Rig::start(&stage.app, mount, &setup);
    let mut good = rig.connect(to).expect("the server listens");
    echo(&mut good);
    let listener = rig.entrance().unwrap_or(([127, 0, 0, 1], 15_001).into());
    for garbage in garbage() {
        // A gate may refuse the connection before it says a word.
        let Ok(mut client) = rig.dial(listener) else {
            assert!(mount.is_transparent(), "the proxy port is gone");
            continue;
        };
        let _ = client.send(&garbage);
        client.finish();
        let (answer, end) = client.receive_all();
        assert!(matches!(end, End::Fin | End::Reset), "{end:?}");
        let said = answer.escape_ascii().to_string();
        assert!(!is_success(&answer), "{}: {said}", garbage.escape_ascii());
        echo(&mut good);
    }
    assert!(rig.proc().is_running());
    let mut another = rig.connect(to).expect("the server listens");
    echo(&mut another);
    drop((good, another));
    let served = |record: &&Record| record["outcome"] == "ok" && record["received"] != 0;
    rig.records().wait("the good connections", |records| {
        records.iter().filter(served).count() == 2
    });
}

/// As what a steered program says, past everything that looks for a name in it: it arrives.
pub(crate) fn garbage_of_a_steered_program_arrives_unchanged(mount: Mount) {
    let stage = Stage::new("opaque");
    let (server, to) = stage.serve(7, Service::Echo);
    let rules = "rules: [ { match: { host: never.example }, action: reject } ]";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    let garbage = garbage();
    for garbage in &garbage {
        let mut client = rig.connect(to).expect("the server listens");
        let mut writing = client.duplicate();
        let echoed = std::thread::scope(|scope| {
            scope.spawn(move || {
                writing.send(garbage).expect("the connection stands");
                writing.finish();
            });
            client.receive_all()
        });
        assert!(echoed == (garbage.clone(), End::Fin), "{}", garbage.escape_ascii());
    }
    server.wait_ended(garbage.len());
    let records = rig.records().wait_for(garbage.len());
    assert!(records.iter().all(|record| record["outcome"] == "ok"), "{records:#?}");
}

/// Handshakes that stop half-way are no reason to keep others waiting.
pub(crate) fn half_handshakes_keep_nobody_waiting(mount: Mount) {
    let stage = Stage::new("halfway");
    let (_server, to) = stage.serve(7, Service::Echo);
    let rules = "rules: [ { match: { host: never.example }, action: reject } ]";
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    // Of a transparent method these are programs that begin a request and fall silent.
    let (entrance, halves): (SocketAddr, [&[u8]; 4]) = match mount.speech() {
        Speech::Unaware => (to, [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HT", b"PRI * HTT"]),
        _ => (
            rig.entrance().expect("a proxy port"),
            [b"", b"\x05", b"\x05\x01\x00\x05\x01\x00\x03\x40a", b"CONNECT 127.0."],
        ),
    };
    let begun = rig.many(100, |index, dial| {
        let mut client = dial(entrance).expect("somebody listens");
        client.send(halves[index % 4]).expect("the connection stands");
        client
    });
    let mut good = rig.connect(to).expect("the server listens");
    echo(&mut good);
    drop(begun);
    echo(&mut good);
    let client = good.local().to_string();
    drop(good);
    rig.records().wait("the good connection", |records| {
        records.iter().any(|record| record["client"] == client)
    });
}

/// Somebody else who finds out where a steered connection leads gets nothing of it.
pub(crate) fn another_local_process_cannot_ride_a_live_token(mount: Mount) {
    lab::require!(Root, Cgroup2, Program("python3"));
    let stage = Stage::new("ride");
    let server = stage.srv.serve(7, Service::Echo);
    let udp = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::scope("{ uid: 2001 }"));
    // One whose calls are seen, one whose calls are not meant, and one that no hook sees.
    let elsewhere = Cgroup::new("elsewhere");
    let user = |id| identity::agent(stage.app.program("env").user(id));
    let root = identity::agent(stage.app.program("env").cgroup(&elsewhere));
    let (steered, riders) = (user(2001), [user(2001), user(2002), root]);
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let mut client = steered.connect(to).expect("the server listens");
        echo(&mut client);
        let socket = steered.udp_client_to(to).expect("there is a route");
        socket.send(b"hello").expect("it is sent");
        assert_eq!(socket.receive(), Ok((b"hello".to_vec(), to)));
        let (tcp, of_udp) = (tokens(&stage.app, "tcp"), tokens(&stage.app, "udp"));
        assert!(!tcp.is_empty() && !of_udp.is_empty(), "{tcp:?} {of_udp:?}");
        let (connections, datagrams) = (server.seen().len(), udp.seen().len());
        for rider in &riders {
            for token in &tcp {
                let ridden = rider.connect(*token).map_err(Refused::Connect);
                assert!(steer_tests::refusal_of(ridden).is_an_error(), "{token}");
            }
            for token in &of_udp {
                let free = rider.udp_client(Family::of(token.ip()));
                free.patience(Duration::from_secs(1));
                let failure = free.ask(*token, b"ridden").expect_err("it is not served");
                // Where a hook sees the call, at once.
                let unseen = rider.pid() == riders[2].pid();
                assert!(unseen || failure == Failure::Refused, "{token}: {failure:?}");
            }
        }
        // Whoever it is of goes on, and hears nobody else.
        echo(&mut client);
        socket.send(b"again").expect("it is sent");
        assert_eq!(socket.receive(), Ok((b"again".to_vec(), to)));
        let seen = udp.seen();
        assert_eq!((server.seen().len(), seen.len()), (connections, datagrams + 1));
        assert!(seen.iter().all(|it| it.payload != b"ridden"));
    }
    let records = rig.finish();
    let good = records.iter().filter(|it| it["outcome"] == "ok").count();
    assert_eq!(good, 4, "{records:#?}");
}

/// The addresses of ours that sockets of a host are connected to, as everybody there can read them.
fn tokens(host: &lab::Host, protocol: &str) -> Vec<SocketAddr> {
    const READ: &str = "
import re, socket, struct, sys
for name, family in [(sys.argv[1], socket.AF_INET), (sys.argv[1] + '6', socket.AF_INET6)]:
    for line in open('/proc/net/' + name).readlines()[1:]:
        ip, port = line.split()[2].split(':')
        words = [struct.pack('=I', int(ip[at:at + 8], 16)) for at in range(0, len(ip), 8)]
        ip = socket.inet_ntop(family, b''.join(words))
        print(('[%s]:%d' if ':' in ip else '%s:%d') % (ip, int(port, 16)))
";
    let python = host.program("python3").args(["-c", READ, protocol]).run();
    let said = python.expect_success();
    let all = said.lines().map(|line| line.parse::<SocketAddr>().expect("an address"));
    let ours = |to: &SocketAddr| match to.ip() {
        IpAddr::V4(ip) => ip.octets()[0] == 127 && ip.octets()[1] >= 128,
        IpAddr::V6(ip) => ip.segments()[..4] == [0xfd5e, 0x7ee2, 0, 0xf8e3],
    };
    all.filter(ours).collect()
}

/// What no protocol allows, or what stops in the middle of one.
fn garbage() -> Vec<Vec<u8>> {
    let random = |seed, length| Pattern(seed).bytes(length);
    let long = |head: &str| [head.as_bytes(), &[b'a'; 200_000]].concat();
    let mut all = vec![
        Vec::new(),
        vec![0],
        vec![4, 1, 0, 80, 0, 0, 0, 1, 0],
        vec![5],
        vec![5, 0],
        vec![5, 255, 0],
        vec![5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 7],
        vec![5, 1, 0, 5, 1, 0, 9, 127, 0, 0, 1, 0, 7],
        vec![5, 1, 0, 6, 6, 6, 6, 6, 6, 6],
        vec![5, 1, 2, 1, 255],
        vec![5, 1, 0, 5, 1, 0, 3, 0, 0, 80],
        vec![0x16, 3, 1, 0xff, 0xff],
        vec![0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xff],
        b"\r\n\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET http:// HTTP/1.1\r\n\r\n".to_vec(),
        b"CONNECT\r\n\r\n".to_vec(),
        b"CONNECT a:b:c:80 HTTP/1.1\r\n\r\n".to_vec(),
        b"CONNECT 127.0.0.1:0 HTTP/1.1\r\n\r\n".to_vec(),
        b"CONNECT 127.0.0.1:7 HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec(),
        long("GET http://"),
        long("CONNECT "),
        long("GET / HTTP/1.1\r\nHost: "),
        "X: y\r\n".repeat(20_000).into_bytes(),
    ];
    all.extend((0..8).map(|seed| random(seed, 1 + 4000 * seed as usize)));
    all
}

/// Whether an answer says that a tunnel stands.
fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 2") || matches!(answer, [5, 0, 5, 0, ..])
}

fn echo(client: &mut Client) {
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
}
