//! What programs of a cgroup send.

use std::net::SocketAddr;
use std::time::Duration;

use lab::{Cgroup, Failure, Family, Lab, Service, eventually};

use crate::engine::{Engine, agent, of};

#[test]
fn connections_and_datagrams_of_both_families_come_with_their_destination() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-local"), Cgroup::new("ebpf-local"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    for family in Family::BOTH {
        for to in ["203.0.113.7:80", "[2001:db8::7]:80"] {
            let to: SocketAddr = to.parse().unwrap();
            if Family::of(to.ip()) == family {
                engine.takes_tcp(&agent, to);
                engine.takes_udp(&agent, SocketAddr::new(to.ip(), 81));
            }
        }
    }
}

#[test]
fn who_is_not_in_the_cgroup_is_left_alone() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-others"), Cgroup::new("ebpf-others"));
    let app = lab.host("app");
    let server = app.serve(7, Service::Echo);
    let engine = Engine::start(&app, &of(&cgroup));
    let to = SocketAddr::new(Family::V4.loopback(), 7);
    let mut client = app.connect(to).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(server.seen().len(), 1);
    assert!(engine.came().is_empty());
    let agent = agent(&app, &cgroup);
    engine.takes_tcp(&agent, to);
    assert_eq!(server.seen().len(), 1, "the agent's connection was taken");
}

#[test]
fn one_socket_of_datagrams_has_many_destinations() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-many"), Cgroup::new("ebpf-many"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    let client = agent.udp_client(Family::V4);
    for round in 0..2 {
        for number in 1..=20_u8 {
            let to = SocketAddr::from(([203, 0, 113, number], 1000));
            let answer = client.ask(to, b"hello").unwrap();
            assert_eq!(answer, (b"engine:hello".to_vec(), to), "round {round}");
        }
    }
    assert_eq!(engine.came().len(), 20, "one flow a destination");
}

#[test]
fn a_flow_goes_on_by_its_own_socket_and_begins_anew_when_it_is_over() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-flow"), Cgroup::new("ebpf-flow"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    for to in ["203.0.113.7:90", "[2001:db8::7]:90"] {
        let to: SocketAddr = to.parse().unwrap();
        let client = agent.udp_client(Family::of(to.ip()));
        let flows = || engine.came().iter().filter(|came| came.to == to).count();
        for size in [1, 1200, 9000] {
            let asked = vec![7; size];
            let (answer, from) = client.ask(to, &asked).unwrap();
            assert_eq!((answer, from), ([b"engine:", &asked[..]].concat(), to));
        }
        assert_eq!(flows(), 1);
        assert_eq!(client.ask(to, b"refuse").unwrap_err(), Failure::Refused);
        // The token is still there when its socket has gone, which may be after the refusal: what comes
        // before that is lost.
        client.patience(Duration::from_secs(1));
        let (answer, from) = eventually("a further flow", || client.ask(to, b"again").ok());
        assert_eq!((&answer[..], from), (&b"engine:again"[..], to));
        assert_eq!(flows(), 2);
        assert!(engine.came().iter().all(|came| came.has_socket));
    }
}

#[test]
fn a_refused_datagram_is_an_error_of_the_client() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-refuse"), Cgroup::new("ebpf-refuse"));
    let app = lab.host("app");
    let _engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    for to in ["203.0.113.7:99", "[2001:db8::7]:99"] {
        let client = agent.udp_client_to(to.parse().unwrap()).unwrap();
        client.send(b"refuse").unwrap();
        assert_eq!(client.receive().unwrap_err(), Failure::Refused, "{to}");
    }
}

#[test]
fn a_datagram_of_a_socket_that_is_closed_at_once_arrives() {
    lab::require!(Root, Program("bash"));
    let (lab, cgroup) = (Lab::new("ebpf-forget"), Cgroup::new("ebpf-forget"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let script = "for i in 1 2 3 4 5 6 7 8; do echo x > /dev/udp/203.0.113.7/100$i; done";
    app.program("bash")
        .args(["-c", script])
        .cgroup(&cgroup)
        .run();
    for port in 1001..=1008 {
        engine.wait_for(SocketAddr::from(([203, 0, 113, 7], port)));
    }
}

#[test]
fn a_program_is_told_the_peer_that_it_asked_for_also_by_mptcp() {
    lab::require!(Root, Program("python3"));
    let (lab, cgroup) = (Lab::new("ebpf-peer"), Cgroup::new("ebpf-peer"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let script = "import socket, sys\n\
        for protocol in (6, 262):\n\
        \x20 for family, at in ((2, '203.0.113.7'), (10, '2001:db8::7'), (10, '::ffff:203.0.113.8')):\n\
        \x20   s = socket.socket(family, 1, protocol)\n\
        \x20   s.connect((at, 80)); s.sendall(b'x'); s.recv(8)\n\
        \x20   print(protocol, *s.getpeername()[:2])";
    let program = app.program("python3").args(["-c", script]).cgroup(&cgroup);
    let said = program.run().expect_success();
    let peers = ["203.0.113.7 80", "2001:db8::7 80", "::ffff:203.0.113.8 80"];
    let each = |protocol| peers.map(|peer| format!("{protocol} {peer}"));
    let expected = [each(6), each(262)].concat();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(engine.came().len(), expected.len());
}
