//! What is true where the engine is gone, or steering ends.

use lab::{Capture, Client, End, Failure, Family, Host, Packet, Service};
use steer_core::intent::OnFailure;
use steer_core::ruleset::{Hook, Ruleset};

use super::cases::{FAMILIES, NEVER, SOON};
use super::engine::{Engine, HERE};
use super::rules::{SERVED, forwarded, guard, local};
use super::{Filter, Steering, gateway, greeting, pair, route, unroute};

pub fn without_an_engine_nothing_leaves_under_closed(filter: Filter) {
    for (client, (app, srv), rules, interface) in scenes(OnFailure::Closed) {
        let witness = Capture::start(&srv, "eth0");
        route(&app, Some(interface));
        let mut steering = Steering::on(&app, filter);
        steering.set(&[rules]).unwrap();
        for family in FAMILIES {
            let at = srv.at(family, SERVED);
            let what = format!("{filter} {family:?} {interface}");
            let within = match filter {
                Filter::Nft => SOON,
                // Its target drops what no socket takes.
                Filter::Iptables(_) => NEVER,
            };
            let connect = || Client::connect_within(at, within);
            let tcp = client.enter(connect).unwrap_err();
            let udp = client.ask_udp(at, b"x", NEVER).unwrap_err();
            let expected = match (filter, family) {
                // The kernel sends no ICMP over IPv4 from an address that is not its own.
                (Filter::Nft, Family::V4) => (Failure::Refused, Failure::TimedOut),
                (Filter::Nft, Family::V6) => (Failure::Refused, Failure::Denied),
                (Filter::Iptables(_), _) => (Failure::TimedOut, Failure::TimedOut),
            };
            assert_eq!((tcp, udp), expected, "{what}");
        }
        assert_eq!(leaks(&witness), [], "{filter} {interface}");
    }
}

pub fn without_an_engine_forwarded_flows_go_direct_under_open(filter: Filter) {
    let (cli, gw, srv) = gateway();
    let _there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let _echo = srv.serve_udp(SERVED);
    route(&gw, Some("eth0"));
    let mut steering = Steering::on(&gw, filter);
    steering.set(&[forwarded("eth0", OnFailure::Open)]).unwrap();
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        assert_eq!(greeting(cli.connect(at)).unwrap(), "there", "{family:?}");
        assert_eq!(cli.ask_udp(at, b"x", SOON).unwrap().0, b"x", "{family:?}");
    }
}

pub fn without_an_engine_this_hosts_own_flows_are_refused_under_open(filter: Filter) {
    // They come to where it listened by the route, which the rules chose before they could know.
    let (app, srv) = pair();
    route(&app, Some("lo"));
    let mut steering = Steering::on(&app, filter);
    steering.set(&[local(OnFailure::Open)]).unwrap();
    for family in FAMILIES {
        let refused = app.connect(srv.at(family, SERVED)).err();
        assert_eq!(refused, Some(Failure::Refused), "{family:?}");
    }
}

pub fn retired_rules_let_steered_connections_go_on_and_take_no_further_flow(filter: Filter) {
    for (client, (app, srv), rules, interface) in scenes(OnFailure::Closed) {
        let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
        let echo = srv.serve_udp(SERVED);
        let engine = Engine::start(&app);
        route(&app, Some(interface));
        let mut steering = Steering::on(&app, filter);
        let hook = match interface {
            "lo" => Hook::Output,
            _ => Hook::Forward,
        };
        for (end, family) in [(guard(hook), Family::V4), (guard(hook), Family::V6)] {
            let at = srv.at(family, SERVED);
            let what = format!("{filter} {family:?} {interface}");
            let both = [rules.clone(), end];
            steering.set(&both).unwrap();
            let mut live = client.connect(at).unwrap();
            assert_eq!(live.receive(5).unwrap(), HERE.as_bytes(), "{what}");

            let retired = [both[0].retired(), both[1].clone()];
            steering.set(&retired).unwrap();
            let taken = engine.wanted().len();
            assert_eq!(
                greeting(client.connect(at)),
                Err(Failure::Refused),
                "{what}"
            );
            let refused = client.ask_udp(at, b"x", SOON).unwrap_err();
            assert!(
                matches!(refused, Failure::Unreachable | Failure::Denied),
                "{what}: {refused:?}"
            );
            live.send(b"again").unwrap();
            assert_eq!(live.receive(5).unwrap(), b"again", "{what}");
            assert_eq!(engine.wanted().len(), taken, "{what}");
            live.finish();
            assert_eq!(live.receive_all().1, End::Fin, "{what}");
        }
        assert!(
            there.seen().is_empty() && echo.seen().is_empty(),
            "{filter} leaked"
        );

        // Without a guard they take nothing either.
        steering.set(&[rules.retired()]).unwrap();
        let at = srv.at(Family::V4, SERVED);
        assert_eq!(greeting(client.connect(at)).unwrap(), "there", "{filter}");
        assert_eq!(client.ask_udp(at, b"x", SOON).unwrap().0, b"x");
    }
}

pub fn a_steered_connection_that_outlives_its_rules_does_not_leak(filter: Filter) {
    for (client, (app, srv), rules, interface) in scenes(OnFailure::Closed) {
        let witness = Capture::start(&srv, "eth0");
        let engine = Engine::start(&app);
        route(&app, Some(interface));
        let mut steering = Steering::on(&app, filter);
        let hook = match interface {
            "lo" => Hook::Output,
            _ => Hook::Forward,
        };
        let both = [rules, guard(hook)];
        steering.set(&both).unwrap();
        let mut live = client.connect(srv.at(Family::V4, SERVED)).unwrap();
        assert_eq!(live.receive(5).unwrap(), HERE.as_bytes());
        steering.set(&both[1..]).unwrap();
        // While the routes stand, the kernel remembers that the socket's packets end here.
        unroute(&app);
        live.send(b"leak?").unwrap();
        if interface == "lo" {
            assert_eq!(live.receive(5), Err(End::Reset), "{filter}");
        } else {
            // A host does not forward what one of its sockets would take.
            live.patience(NEVER);
            assert_eq!(live.receive(5), Err(End::Open), "{filter}");
            live.patience(SOON);
            drop(engine);
            assert_eq!(live.receive(5), Err(End::Reset), "{filter}");
        }
        assert_eq!(leaks(&witness), [], "{filter} {interface}");
    }
}

fn leaks(witness: &Capture) -> Vec<Packet> {
    witness.packets(|packet| packet.destination.port() == SERVED)
}

pub type Scene = (Host, (Host, Host), Ruleset, &'static str);

/// Where the flows are made, the host with the rules beside the one with the servers, the rules,
/// and the interface at which the packets come in.
pub fn scenes(dead: OnFailure) -> [Scene; 2] {
    let (app, srv) = pair();
    let (cli, gw, far) = gateway();
    [
        (app.clone(), (app, srv), local(dead), "lo"),
        (cli, (gw, far), forwarded("eth0", dead), "eth0"),
    ]
}
