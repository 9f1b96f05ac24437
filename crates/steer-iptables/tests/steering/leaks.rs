//! What must not leave: late packets of flows whose sockets are gone.

use lab::{Capture, Family, Service};
use steer_core::intent::OnFailure;
use steer_core::steerer::Steerer;
use steer_iptables::{Redirect, Tproxy};

use crate::engine::{BACKENDS, Engine};
use crate::site::{forwarded, local, to};

const METHODS: [&dyn Steerer; 2] = [&Redirect, &Tproxy];

#[test]
fn nothing_of_a_taken_flow_leaves_although_its_sockets_close_at_once() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for make in [local, forwarded] {
        for (method, backend) in METHODS
            .into_iter()
            .flat_map(|method| BACKENDS.map(|backend| (method, backend)))
        {
            let mut site = make();
            site.intent.backend = Some(backend);
            site.intent.on_failure = Some(OnFailure::Open);
            site.intent.traffic.quic = Some(steer_core::intent::Quic::Leave);
            let takes_udp = method.profile().protocols.len() == 2;
            let server = site.server.serve(7, Service::Echo);
            let witness = Capture::start(&site.server, "eth0");
            let engine = Engine::start(&site.engine, method, &site.intent);
            for family in Family::BOTH {
                let target = site.server.at(family, 7);
                for round in 0..8 {
                    let mut client = site.client.connect(target).unwrap();
                    client.send(b"hello").unwrap();
                    // The answer comes to a connection that is closed, reset, or was half closed.
                    match round % 3 {
                        0 => drop(client),
                        1 => client.reset(),
                        _ => client.finish(),
                    }
                    if takes_udp {
                        let client = site.client.udp_to(target).unwrap();
                        client.send(b"hello").unwrap();
                        let local = client.local();
                        drop(client);
                        engine.wait_for(local);
                    }
                }
                engine.takes_tcp(&site.client, target);
            }
            for family in Family::BOTH {
                let leaked = witness.packets(to(site.server.address(family)));
                assert_eq!(leaked, [], "{} {backend:?}", method.method());
            }
            drop(engine);
            // The witness sees what does leave.
            let target = site.server.at(Family::V4, 7);
            let _direct = site.client.connect(target).unwrap();
            witness.wait_for(to(target.ip()));
            server.wait_for(|seen| seen.len() == 1);
        }
    }
}

#[test]
fn an_engine_without_listeners_refuses_at_once_or_lets_pass_as_the_intent_says() {
    lab::require!(Namespaces, Program("iptables"));
    for make in [local, forwarded] {
        for failure in [OnFailure::Closed, OnFailure::Open] {
            let mut site = make();
            site.intent.on_failure = Some(failure);
            let _server = site.server.serve(7, Service::Echo);
            let datagrams = site.server.serve_udp(7);
            let engine = Engine::start_deaf(&site.engine, &Tproxy, &site.intent);
            for family in Family::BOTH {
                let target = site.server.at(family, 7);
                let passes = failure == OnFailure::Open && site.client_is_elsewhere();
                let connected = site.client.connect(target);
                let client = site.client.udp_to(target).unwrap();
                client.send(b"hello").unwrap();
                if passes {
                    assert_eq!(client.receive().unwrap().0, b"hello");
                    continue;
                }
                assert_eq!(connected.unwrap_err(), lab::Failure::Refused);
                if family == Family::V6 {
                    assert_ne!(client.receive().unwrap_err(), lab::Failure::TimedOut);
                }
                // The kernel has no route for an ICMP error from an address that is not its own,
                // so IPv4 datagrams are lost without a word; those of IPv6 came after them.
                assert_eq!(datagrams.seen(), []);
            }
            drop(engine);
        }
    }
}
