//! DNS: port 53, wherever it goes.

use lab::{Family, Lab, Service};
use steer_core::intent::{Dns, FakeIp};
use steer_core::steerer::Steerer;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine, goes_direct, whole_host};

const METHODS: [&dyn Steerer; 2] = [&Redirect, &Tproxy];

#[test]
fn queries_are_taken_also_those_to_a_resolver_on_a_loopback_address() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for method in METHODS {
        for backend in BACKENDS {
            let lab = Lab::new("dns");
            let (app, srv) = (lab.host("app"), lab.host("srv"));
            lab.link(&app, &srv);
            let (own_tcp, own_udp) = (app.serve(53, Service::Echo), app.serve_udp(53));
            let _others = (app.serve(7, Service::Echo), app.serve_udp(7));
            let (tcp, udp) = (srv.serve(53, Service::Echo), srv.serve_udp(53));
            let mut intent = whole_host();
            intent.backend = Some(backend);
            intent.traffic.dns = Some(Dns::Capture);
            let engine = Engine::start(&app, method, &intent);
            let stub = "127.0.0.53:53".parse().unwrap();
            let of_family = |family| [srv.at(family, 53), (family.loopback(), 53).into()];
            let resolvers = Family::BOTH.into_iter().flat_map(of_family).chain([stub]);
            for to in resolvers {
                assert!(engine.takes_tcp(&app, to).dns);
                assert!(engine.takes_udp(&app, to).dns);
            }
            let seen = [tcp.seen().len(), own_tcp.seen().len()];
            assert_eq!(seen, [0, 0], "{} {backend:?}", method.method());
            assert_eq!([udp.seen().len(), own_udp.seen().len()], [0, 0]);
            goes_direct(&app, (Family::V4.loopback(), 7).into());
        }
    }
}

#[test]
fn one_socket_can_ask_several_resolvers() {
    lab::require!(Namespaces);
    for method in METHODS {
        let lab = Lab::new("many");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        let mut intent = whole_host();
        intent.traffic.dns = Some(Dns::Capture);
        let engine = Engine::start(&app, method, &intent);
        let client = app.udp(Family::V4);
        for _ in 0..2 {
            for to in [srv.at(Family::V4, 53), "203.0.113.1:53".parse().unwrap()] {
                let answer = client.ask(to, b"which").unwrap();
                assert_eq!(answer, (b"engine:which".to_vec(), to));
            }
        }
        assert_eq!(engine.came().len(), 2, "two flows");
    }
}

#[test]
fn of_made_up_addresses_nothing_leaves_under_open() {
    lab::require!(Namespaces);
    for method in METHODS {
        let lab = Lab::new("fake");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        let (_tcp, _udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
        let mut intent = whole_host();
        intent.on_failure = Some(steer_core::intent::OnFailure::Open);
        intent.traffic.dns = Some(Dns::Capture);
        intent.traffic.include.domains = vec!["chosen.example".parse().unwrap()];
        intent.traffic.include.ports = vec!["7".parse().unwrap()];
        intent.resolve.fake = Some(FakeIp {
            pools: FakeIp::default_pools(),
            names: Vec::new(),
            except: Vec::new(),
            file: None,
        });
        let engine = Engine::start(&app, method, &intent);
        for family in Family::BOTH {
            goes_direct(&app, srv.at(family, 7));
            let fake = match family {
                Family::V4 => "198.18.0.9",
                Family::V6 => "fd5e:7ee2:0:f8e1::9",
            };
            let at = |port| std::net::SocketAddr::new(fake.parse().unwrap(), port);
            engine.takes_tcp(&app, at(7));
            assert_eq!(app.connect(at(8)).unwrap_err(), lab::Failure::Refused);
            let client = app.udp_to(at(8)).unwrap();
            let refused = client.send(b"x").and_then(|()| client.receive().map(drop));
            assert!(refused.is_err());
        }
    }
}
