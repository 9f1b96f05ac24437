//! What other machines send through the host.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use lab::{Family, Lab, Service, Snapshot};
use nix::sys::socket::sockopt;
use socket2::{Domain, Socket, Type};
use steer_core::intent::{Dns, Selector, Source};
use steer_core::mark::Mark;
use steer_core::steerer::Steerer;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine, far, goes_direct, of, quiet};

const METHODS: [&dyn Steerer; 2] = [&Redirect, &Tproxy];

#[test]
fn a_gateway_takes_the_traffic_of_its_clients_and_not_its_own() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for method in METHODS {
        for backend in BACKENDS {
            let lab = Lab::new("gate");
            let (lan, gw, srv) = (lab.host("lan"), lab.router("gw"), lab.host("srv"));
            let (_, inner) = lab.link(&lan, &gw);
            lab.link(&gw, &srv);
            let (tcp, udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
            let (_own_tcp, _own_udp) = (gw.serve(7, Service::Echo), gw.serve_udp(7));
            let before = quiet(Snapshot::take(&gw));
            let mut intent = of(Selector {
                interface: vec![inner.name.clone()],
                ..Selector::default()
            });
            intent.backend = Some(backend);
            let engine = Engine::start(&gw, method, &intent);
            for family in Family::BOTH {
                let to = srv.at(family, 7);
                let came = engine.takes_tcp(&lan, to);
                assert_eq!(came.client.ip(), lan.address(family));
                engine.takes_tcp(&lan, (far(family), 443).into());
                if method.method() == steer_core::method::Method::Tproxy {
                    let came = engine.takes_udp(&lan, to);
                    assert_eq!(came.client.ip(), lan.address(family));
                }
                assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0), "{backend:?}");
            }
            for family in Family::BOTH {
                goes_direct(&gw, srv.at(family, 7));
                goes_direct(&lan, gw.at(family, 7));
            }
            drop(engine);
            Snapshot::wait_same(&gw, &before, quiet);
        }
    }
}

#[test]
fn marks_that_count_at_the_source_do_not_stop_a_gateway() {
    lab::require!(Namespaces);
    let lab = Lab::new("valid");
    let (lan, gw, srv) = (lab.host("lan"), lab.router("gw"), lab.host("srv"));
    let (_, inner) = lab.link(&lan, &gw);
    lab.link(&gw, &srv);
    for (name, value) in [("src_valid_mark", "1"), ("rp_filter", "1")] {
        gw.set_sysctl(&format!("net/ipv4/conf/all/{name}"), value);
    }
    let intent = of(Selector {
        interface: vec![inner.name],
        ..Selector::default()
    });
    let engine = Engine::start(&gw, &Tproxy, &intent);
    engine.takes_tcp(&lan, srv.at(Family::V4, 7));
    engine.takes_udp(&lan, srv.at(Family::V4, 7));
}

#[test]
fn a_gateway_takes_queries_to_its_own_resolver() {
    lab::require!(Namespaces);
    for method in METHODS {
        let lab = Lab::new("gwdns");
        let (lan, gw, srv) = (lab.host("lan"), lab.router("gw"), lab.host("srv"));
        let (_, inner) = lab.link(&lan, &gw);
        lab.link(&gw, &srv);
        let (tcp, udp) = (gw.serve(53, Service::Echo), gw.serve_udp(53));
        let mut intent = of(Selector {
            interface: vec![inner.name],
            ..Selector::default()
        });
        intent.traffic.dns = Some(Dns::Capture);
        let engine = Engine::start(&gw, method, &intent);
        for family in Family::BOTH {
            for to in [gw.at(family, 53), srv.at(family, 53)] {
                assert!(engine.takes_tcp(&lan, to).dns);
                assert!(engine.takes_udp(&lan, to).dns);
            }
        }
        assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0));
    }
}

#[test]
fn answers_to_a_dial_with_the_clients_address_come_back_to_the_engine() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for backend in BACKENDS {
        let lab = Lab::new("source");
        let (lan, gw, srv) = (lab.host("lan"), lab.router("gw"), lab.host("srv"));
        let (_, inner) = lab.link(&lan, &gw);
        lab.link(&gw, &srv);
        let (tcp, udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
        let mut intent = of(Selector {
            interface: vec![inner.name],
            ..Selector::default()
        });
        intent.backend = Some(backend);
        intent.source = Some(Source::Client);
        let engine = Engine::start(&gw, &Tproxy, &intent);
        for (round, family) in Family::BOTH.into_iter().enumerate() {
            let (from, to) = (lan.address(family), srv.at(family, 7));
            engine.takes_tcp(&lan, to);
            engine.takes_udp(&lan, to);
            let mut stream = gw.enter(|| TcpStream::from(dial(Type::STREAM, from, to)));
            stream.write_all(b"mine").unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"mine");
            assert_eq!(tcp.seen()[round].peer.ip(), from);
            let socket = gw.enter(|| UdpSocket::from(dial(Type::DGRAM, from, to)));
            socket.send(b"mine").unwrap();
            assert_eq!(socket.recv(&mut answer).unwrap(), 4);
            assert_eq!(udp.seen()[round].peer.ip(), from);
        }
    }
}

/// A socket of the engine's with the address of another machine.
fn dial(kind: Type, from: IpAddr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), kind, None).unwrap();
    nix::sys::socket::setsockopt(&socket, sockopt::IpTransparent, &true).unwrap();
    socket.set_mark(Mark::BYPASS.value).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(lab::DEADLINE)).unwrap();
    socket
}
