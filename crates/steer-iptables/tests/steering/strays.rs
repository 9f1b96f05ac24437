//! What is marked for the engine, and sent elsewhere by rules and routes of others.

use std::time::Duration;

use lab::{Capture, Client, Family, Host, Service};
use steer_core::intent::{Backend, OnFailure};
use steer_iptables::Tproxy;

use crate::engine::{BACKENDS, Engine, goes_direct};
use crate::site::{Site, forwarded, local, to};

/// How long an answer is waited for that must not come.
const NEVER: Duration = Duration::from_millis(500);

/// What others can do to the way of marked packets while it is in use.
type Trouble = fn(&Host, up: &str, site: &Site);

/// A rule before ours, with a table that leads to the server.
fn a_rule_of_others(host: &Host, up: &str, site: &Site) {
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let server = site.server.address(family).to_string();
        let route = ["route", "add", &server, "dev", up];
        host.ip(&[&[option], &route[..], &["table", "77"]].concat());
        let rule = ["rule", "add", "priority", "100", "lookup", "77"];
        host.ip(&[&[option], &rule[..]].concat());
    }
}

/// Our own rule is gone.
fn no_rule_of_ours(host: &Host, _: &str, _: &Site) {
    for option in ["-4", "-6"] {
        host.ip(&[option, "rule", "del", "priority", "1500"]);
    }
}

const TROUBLES: [Trouble; 2] = [a_rule_of_others, no_rule_of_ours];

/// The interface that leads to the server.
fn uplink(site: &Site) -> &'static str {
    match site.client_is_elsewhere() {
        true => "eth1",
        false => "eth0",
    }
}

fn over(make: fn() -> Site, backend: Backend, failure: OnFailure) -> Site {
    let mut site = make();
    site.intent.backend = Some(backend);
    site.intent.on_failure = Some(failure);
    site
}

#[test]
fn marked_packets_that_are_routed_elsewhere_do_not_leave_under_closed() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for (make, backend) in [local, forwarded]
        .into_iter()
        .flat_map(|make| BACKENDS.map(|backend| (make as fn() -> Site, backend)))
    {
        for trouble in TROUBLES {
            let site = over(make, backend, OnFailure::Closed);
            let tcp = site.server.serve(7, Service::Echo);
            let udp = site.server.serve_udp(7);
            let engine = Engine::start(&site.engine, &Tproxy, &site.intent);
            let mut open = Vec::new();
            for family in Family::BOTH {
                let target = site.server.at(family, 7);
                engine.takes_udp(&site.client, target);
                engine.takes_tcp(&site.client, target);
                open.push(site.client.connect(target).unwrap());
            }
            let witness = Capture::start(&site.server, "eth0");
            trouble(&site.engine, uplink(&site), &site);
            for (family, open) in Family::BOTH.into_iter().zip(&mut open) {
                let target = site.server.at(family, 7);
                let connect = || Client::connect_within(target, NEVER);
                site.client.enter(connect).unwrap_err();
                let datagrams = site.client.udp_to(target).unwrap();
                datagrams.patience(NEVER);
                let asked = datagrams.send(b"leak?");
                asked.and_then(|()| datagrams.receive()).unwrap_err();
                let _ = open.send(b"leak?");
                let leaked = witness.packets(to(target.ip()));
                assert_eq!(leaked, [], "{backend:?} {family:?}");
            }
            assert_eq!((tcp.seen().len(), udp.seen().len()), (0, 0), "{backend:?}");
            drop(engine);
            // The witness sees what does leave.
            goes_direct(&site.client, site.server.at(Family::V4, 7));
            witness.wait_for(to(site.server.address(Family::V4)));
        }
    }
}

#[test]
fn marked_packets_that_are_routed_elsewhere_go_direct_under_open() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for backend in BACKENDS {
        for trouble in TROUBLES {
            let site = over(local, backend, OnFailure::Open);
            let _tcp = site.server.serve(7, Service::Echo);
            let _udp = site.server.serve_udp(7);
            let engine = Engine::start(&site.engine, &Tproxy, &site.intent);
            for family in Family::BOTH {
                engine.takes_tcp(&site.client, site.server.at(family, 7));
            }
            trouble(&site.engine, uplink(&site), &site);
            for family in Family::BOTH {
                goes_direct(&site.client, site.server.at(family, 7));
            }
            assert_eq!(engine.came().len(), 2, "{backend:?}");
        }
    }
}

#[test]
fn a_datagram_to_everyone_on_a_network_is_refused_under_closed() {
    lab::require!(Namespaces, Program("iptables"), Program("iptables-legacy"));
    for backend in BACKENDS {
        for failure in [OnFailure::Closed, OnFailure::Open] {
            let site = over(local, backend, failure);
            let everyone = {
                let [a, b, c, _] = site.server.uplink().v4.octets();
                [[a, b, c, 255], [255; 4]]
            };
            let witness = Capture::start(&site.server, "eth0");
            let engine = Engine::start(&site.engine, &Tproxy, &site.intent);
            let client = site.client.udp(Family::V4);
            client.socket().set_broadcast(true).unwrap();
            for address in everyone {
                let target = (address, 7).into();
                let sent = client.send_to(target, b"hello");
                match failure {
                    OnFailure::Closed => {
                        assert_eq!(sent, Err(lab::Failure::Denied), "{backend:?} {target}");
                        assert_eq!(witness.packets(to(target.ip())), [], "{backend:?}");
                    }
                    OnFailure::Open => {
                        sent.unwrap();
                        witness.wait_for(to(target.ip()));
                    }
                }
            }
            assert_eq!(engine.came(), []);
            // What is for one receiver is steered.
            engine.takes_udp(&site.client, site.server.at(Family::V4, 7));
        }
    }
}
