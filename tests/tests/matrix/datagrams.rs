//! Datagrams go where the program sent them, and answers come from there.

use std::net::SocketAddr;

use lab::{Capture, Failure, Family};
use steer_tests::{Mount, Record, Rig, Setup, Stage};

/// The server is asked at the address that the program asked, and answers from it.
pub(crate) fn datagrams_reach_the_address_asked_for(mount: Mount) {
    let stage = Stage::new("dgram");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut meant = Vec::new();
    for family in Family::BOTH {
        let to = SocketAddr::new(stage.another_address(family, 9), 7);
        let socket = rig.udp(family);
        assert_eq!(socket.ask(to, b"hello"), Ok((b"hello".to_vec(), to)));
        assert_eq!(socket.ask(to, b"again!"), Ok((b"again!".to_vec(), to)));
        let seen = server.seen();
        assert!(
            seen.iter()
                .all(|it| it.peer.port() != socket.local().port()),
            "not steered"
        );
        let last = seen.last().expect("it was asked");
        assert_eq!(
            (last.local, last.peer.ip()),
            (to, stage.app.address(family))
        );
        meant.push((to, socket.local()));
    }
    assert_eq!(server.seen().len(), 4);
    let records = rig.finish();
    assert_eq!(records.len(), meant.len(), "{records:#?}");
    for (to, local) in meant {
        let record = record_to(&records, to);
        assert_eq!(record["protocol"], "udp");
        assert_eq!(record["method"], mount.method());
        assert_eq!(
            (&record["outcome"], &record["upstream"]),
            (&"ok".into(), &"direct".into())
        );
        assert_eq!(
            (&record["sent"], &record["received"]),
            (&11.into(), &11.into())
        );
        if mount.backend().is_some() {
            assert_eq!(record["client"], local_of(&stage, local).to_string());
        } else if mount.is_transparent() {
            let client = record["client"].as_str().expect("an address");
            assert!(client.ends_with(&format!(":{}", local.port())), "{record:?}");
        }
    }
}

/// Such a socket hears only the address that it is connected to.
pub(crate) fn a_connected_socket_gets_its_answers(mount: Mount) {
    let stage = Stage::new("connected");
    let _server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let socket = rig.udp_to(to).expect("there is a route");
        for word in [&b"one"[..], b"", b"three"] {
            socket.send(word).expect("it is sent");
            assert_eq!(socket.receive(), Ok((word.to_vec(), to)));
        }
    }
    assert_eq!(rig.finish().len(), 2);
}

/// What ICMP said to the engine is what the program hears.
pub(crate) fn a_refused_datagram_is_an_error_of_the_program(mount: Mount) {
    let stage = Stage::new("icmpback");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let closed = stage.at(family, 9);
        let connected = rig.udp_to(closed).expect("there is a route");
        connected.send(b"anyone?").expect("it is sent");
        assert_eq!(connected.receive(), Err(Failure::Refused), "{closed}");
        let free = rig.udp(family);
        assert_eq!(
            free.ask(closed, b"anyone?"),
            Err(Failure::Refused),
            "{closed}"
        );
        // And the socket goes on.
        let open = stage.at(family, 7);
        assert_eq!(free.ask(open, b"hello"), Ok((b"hello".to_vec(), open)));
    }
    assert_eq!(server.seen().len(), 2);
    let records = rig.finish();
    let refused = records.iter().filter(|it| it["outcome"] == "refused");
    assert_eq!(refused.count(), 4, "{records:#?}");
}

/// The witness outside sees the attempt to reach the proxy, and nothing to the destination.
pub(crate) fn a_dead_upstream_lets_no_datagram_out(mount: Mount) {
    let stage = Stage::new("deadudp");
    let _server = stage.srv.serve_udp(7);
    let proxy = stage.at(Family::V4, 1080);
    let capture = Capture::start(&stage.app, &stage.app.uplink().name);
    let policy = format!(
        "upstreams: {{ corp: {{ url: \"socks5://{proxy}\" }} }}\nrules: [ {{ upstream: corp }} ]\n"
    );
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        // The witness does see such datagrams.
        stage
            .app
            .udp(family)
            .ask(to, SECRET)
            .expect("the server answers");
        capture.wait_for(|packet| packet.family() == family && packet.carries(SECRET));
        capture.clear();
        let rig = Rig::start(&stage.app, mount, &Setup::policy(policy.as_str()));
        let failure = rig
            .udp(family)
            .ask(to, SECRET)
            .expect_err("there is no proxy");
        assert_ne!(failure, Failure::TimedOut, "refused, not dropped");
        capture.wait_for(|packet| packet.is_connect() && packet.destination == proxy);
        assert_eq!(capture.packets(|packet| packet.carries(SECRET)), []);
        assert_ne!(rig.finish()[0]["outcome"], "ok");
    }
}

/// The one record to a destination.
#[track_caller]
pub(crate) fn record_to(records: &[Record], to: SocketAddr) -> &Record {
    let to = to.to_string();
    let mut found = records.iter().filter(|it| it["destination"] == to);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no record to {to}: {records:#?}"));
    assert!(
        found.next().is_none(),
        "several records to {to}: {records:#?}"
    );
    one
}

/// A socket that is bound to no address has that of the link.
fn local_of(stage: &Stage, local: SocketAddr) -> SocketAddr {
    let ip = stage.app.address(Family::of(local.ip()));
    SocketAddr::new(ip, local.port())
}

const SECRET: &[u8] = b"a datagram that nobody may see";
