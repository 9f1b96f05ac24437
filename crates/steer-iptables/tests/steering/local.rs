//! What programs of the host send.

use lab::{Failure, Family, Lab, Service, Snapshot};
use steer_core::intent::Backend;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine, far, quiet, whole_host};

#[test]
fn tproxy_takes_both_protocols_and_families_over_each_filter_and_leaves_nothing() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for backend in BACKENDS {
        let lab = Lab::new("local");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        let (tcp, udp) = (srv.serve(7, Service::Echo), srv.serve_udp(7));
        let before = quiet(Snapshot::take(&app));
        let mut intent = whole_host();
        intent.backend = Some(backend);
        intent.identify = true;
        let engine = Engine::start(&app, &Tproxy, &intent);
        for family in Family::BOTH {
            for to in [srv.at(family, 7), (far(family), 443).into()] {
                let came = engine.takes_tcp(&app, to);
                assert_eq!((came.uid, came.dns), (Some(0), false));
                engine.takes_udp(&app, to);
            }
        }
        assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0), "{backend:?}");
        drop(engine);
        Snapshot::wait_same(&app, &before, quiet);
    }
}

#[test]
fn a_refused_datagram_is_an_error_of_the_program() {
    lab::require!(Namespaces);
    let lab = Lab::new("icmp");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let _engine = Engine::start(&app, &Tproxy, &whole_host());
    for family in Family::BOTH {
        let denied = match family {
            Family::V4 => Failure::Unreachable,
            Family::V6 => Failure::Denied,
        };
        for (say, failure) in [("refuse", Failure::Refused), ("deny", denied)] {
            let client = app.udp_to(srv.at(family, 7)).unwrap();
            client.send(say.as_bytes()).unwrap();
            assert_eq!(client.receive().unwrap_err(), failure, "{family:?} {say}");
        }
    }
}

#[test]
fn a_burst_arrives_whole_although_its_socket_is_made_meanwhile() {
    lab::require!(Namespaces);
    let lab = Lab::new("burst");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let engine = Engine::start(&app, &Tproxy, &whole_host());
    for family in Family::BOTH {
        let client = app.udp_to(srv.at(family, 7)).unwrap();
        // As many as the client's own buffer has room for when they come back.
        let mut sent: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        sent.push(Vec::new());
        for datagram in &sent {
            client.send(datagram).unwrap();
        }
        let mut received: Vec<Vec<u8>> = sent
            .iter()
            .map(|_| client.receive().unwrap().0.split_off("engine:".len()))
            .collect();
        received.sort();
        sent.sort();
        assert_eq!(received, sent);
        client.send(&[7; 60_000]).unwrap();
        assert_eq!(client.receive().unwrap().0.len(), "engine:".len() + 60_000);
        let flows = engine.came();
        let of_client = flows.iter().filter(|came| came.client == client.local());
        assert_eq!(of_client.count(), 1, "one flow");
    }
}

#[test]
fn a_server_of_this_host_does_not_keep_its_clients_from_being_steered() {
    lab::require!(Namespaces);
    let lab = Lab::new("own");
    let app = lab.host("app");
    let (tcp, udp) = (app.serve(7, Service::Echo), app.serve_udp(7));
    let mut intent = whole_host();
    intent.traffic.loopback = Some(steer_core::intent::Loopback::Steer);
    let engine = Engine::start(&app, &Tproxy, &intent);
    for family in Family::BOTH {
        engine.takes_tcp(&app, (family.loopback(), 7).into());
        engine.takes_udp(&app, (family.loopback(), 7).into());
    }
    assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0));
}

#[test]
fn redirect_leaves_the_other_udp_to_the_guard() {
    lab::require!(Namespaces);
    let lab = Lab::new("redir");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let udp = srv.serve_udp(7);
    let engine = Engine::start(&app, &Redirect, &whole_host());
    for family in Family::BOTH {
        engine.takes_tcp(&app, srv.at(family, 7));
        let client = app.udp_to(srv.at(family, 7)).unwrap();
        let refused = client.send(b"x").and_then(|()| client.receive().map(drop));
        assert!(refused.is_err());
    }
    assert_eq!(udp.seen(), []);
}

#[test]
fn a_neighbour_who_restores_marks_does_not_cut_answers_off() {
    lab::require!(Namespaces, Program("iptables"));
    for backend in [Backend::Nft, Backend::Iptables] {
        let lab = Lab::new("restore");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        // As the scripts of a VPN do, and worse.
        for (program, chain) in ["iptables", "ip6tables"]
            .into_iter()
            .flat_map(|program| ["PREROUTING", "OUTPUT"].map(|chain| (program, chain)))
        {
            let words = "-t mangle -A CHAIN -j CONNMARK --restore-mark".replace("CHAIN", chain);
            let output = app.program(program).args(words.split(' ')).run();
            output.expect_success();
        }
        let mut intent = whole_host();
        intent.backend = Some(backend);
        let engine = Engine::start(&app, &Tproxy, &intent);
        for family in Family::BOTH {
            engine.takes_tcp(&app, srv.at(family, 7));
            engine.takes_udp(&app, srv.at(family, 7));
        }
    }
}
