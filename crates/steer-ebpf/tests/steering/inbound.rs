//! What comes to a host.

use lab::{Cgroup, Family, Lab, Service};
use steer_core::intent::Scope;

use crate::engine::{Engine, of};

#[test]
fn connections_to_chosen_ports_come_with_both_addresses_and_others_are_left_alone() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-in"), Cgroup::new("ebpf-in"));
    let (client, app) = (lab.host("client"), lab.host("app"));
    lab.link(&client, &app);
    let (taken, left) = (app.serve(80, Service::Echo), app.serve(81, Service::Echo));
    let mut intent = of(&cgroup);
    intent.scope = Scope::default();
    intent.scope.of.inbound = true;
    intent.traffic.loopback = None;
    intent.traffic.include.ports = vec!["80".parse().unwrap()];
    let engine = Engine::start(&app, &intent);
    for family in Family::BOTH {
        let to = app.at(family, 80);
        let mut stream = client.connect(to).unwrap();
        stream.send(b"hello").unwrap();
        assert_eq!(stream.receive(12).as_deref(), Ok(&b"engine:hello"[..]));
        assert_eq!(engine.wait_for(to).client, stream.local());
        for (from, port) in [(&client, 81), (&app, 80)] {
            let mut stream = from.connect(app.at(family, port)).unwrap();
            stream.send(b"hello").unwrap();
            assert_eq!(
                stream.receive(5).as_deref(),
                Ok(&b"hello"[..]),
                "{family:?} {port}"
            );
        }
    }
    assert_eq!(engine.came().len(), 2);
    assert_eq!((taken.seen().len(), left.seen().len()), (2, 2));
}

#[test]
fn what_the_engine_dials_from_another_address_of_the_host_does_not_come_back() {
    use std::io::{Read, Write};

    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-in-own"), Cgroup::new("ebpf-in-own"));
    let (client, app) = (lab.host("client"), lab.host("app"));
    lab.link(&client, &app);
    let server = app.serve(80, Service::Echo);
    for address in ["192.0.2.77", "2001:db8:77::1"] {
        app.add_address(address.parse().unwrap());
    }
    let mut intent = of(&cgroup);
    intent.scope = Scope::default();
    intent.scope.of.inbound = true;
    intent.traffic.loopback = None;
    intent.traffic.include.ports = vec!["80".parse().unwrap()];
    let engine = Engine::start(&app, &intent);
    // The test's own process is the engine here.
    for (from, family) in [
        ("192.0.2.77:0", Family::V4),
        ("[2001:db8:77::1]:0", Family::V6),
    ] {
        let from: std::net::SocketAddr = from.parse().unwrap();
        let to = app.at(family, 80);
        let mut stream = app.enter(|| {
            let domain = socket2::Domain::for_address(to);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.bind(&from.into()).unwrap();
            socket.connect(&to.into()).unwrap();
            std::net::TcpStream::from(socket)
        });
        // It may be reset by now.
        let _ = stream.write_all(b"hello");
        let mut answer = Vec::new();
        let _ = stream.take(5).read_to_end(&mut answer);
        assert_eq!(answer, b"", "{family:?}");
    }
    assert_eq!((server.seen().len(), engine.came().len()), (0, 0));
}
