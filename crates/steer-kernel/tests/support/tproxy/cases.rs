//! What is true of transparent steering by every packet filter.

use std::time::Duration;

use lab::{Capture, Client, End, Failure, Family, Host, Packet, Service};
use steer_core::intent::OnFailure;
use steer_core::ruleset::{Hook, Ruleset};

use super::engine::{Engine, HERE};
use super::rules::{SERVED, forwarded, guard, local};
use super::{Filter, Steering, gateway, greeting, pair, route, unroute};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const SOON: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come.
const NEVER: Duration = Duration::from_millis(500);

pub fn this_hosts_own_flows_are_steered_with_their_destination(filter: Filter) {
    let (app, srv) = pair();
    let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let echo = srv.serve_udp(SERVED);
    let engine = Engine::start(&app);
    route(&app, Some("lo"));
    let before = filter.snapshot(&app);
    let mut steering = Steering::on(&app, filter);
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        steering.set(&[local(OnFailure::Closed)]).unwrap();
        assert_eq!(
            greeting(app.connect(at)).unwrap(),
            HERE,
            "{filter} {family:?}"
        );
        let (answer, from) = app.ask_udp(at, b"x", SOON).unwrap();
        assert_eq!((answer, from), (HERE.as_bytes().to_vec(), at), "{filter}");
        assert_eq!(
            engine.wanted().split_off(engine.wanted().len() - 2),
            [at, at]
        );
        assert!(
            there.seen().len() + echo.seen().len() <= 2,
            "steered flows leaked"
        );

        steering.set(&[]).unwrap();
        assert_eq!(
            greeting(app.connect(at)).unwrap(),
            "there",
            "{filter} {family:?}"
        );
        assert_eq!(app.ask_udp(at, b"x", SOON).unwrap().0, b"x", "{filter}");
    }
    filter.snapshot(&app).assert_same_as(&before);
}

pub fn forwarded_flows_are_steered_and_the_routers_own_are_not(filter: Filter) {
    let (cli, gw, srv) = gateway();
    let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let echo = srv.serve_udp(SERVED);
    let _router = gw.serve(SERVED, Service::Banner(b"route".to_vec()));
    let engine = Engine::start(&gw);
    route(&gw, Some("eth0"));
    let mut steering = Steering::on(&gw, filter);
    steering
        .set(&[forwarded("eth0", OnFailure::Closed)])
        .unwrap();
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        let mut live = cli.connect(at).unwrap();
        assert_eq!(
            live.receive(5).unwrap(),
            HERE.as_bytes(),
            "{filter} {family:?}"
        );
        live.send(b"again").unwrap();
        assert_eq!(live.receive(5).unwrap(), b"again");
        assert_eq!(cli.ask_udp(at, b"x", SOON).unwrap(), (HERE.into(), at));
        assert_eq!(
            engine.wanted().split_off(engine.wanted().len() - 2),
            [at, at]
        );
        assert_eq!(
            greeting(cli.connect(gw.at(family, SERVED))).unwrap(),
            "route"
        );
    }
    assert!(
        there.seen().is_empty() && echo.seen().is_empty(),
        "{filter} leaked"
    );
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        assert_eq!(
            greeting(gw.connect(at)).unwrap(),
            "there",
            "{filter} {family:?}"
        );
        assert_eq!(gw.ask_udp(at, b"x", SOON).unwrap().0, b"x");
    }
}

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

type Scene = (Host, (Host, Host), Ruleset, &'static str);

/// Where the flows are made, the host with the rules beside the one with the servers, the rules,
/// and the interface at which the packets come in.
fn scenes(dead: OnFailure) -> [Scene; 2] {
    let (app, srv) = pair();
    let (cli, gw, far) = gateway();
    [
        (app.clone(), (app, srv), local(dead), "lo"),
        (cli, (gw, far), forwarded("eth0", dead), "eth0"),
    ]
}

pub fn older_connections_and_answers_of_servers_are_left_alone(filter: Filter) {
    let (app, srv) = pair();
    let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let _own = app.serve(SERVED, Service::Banner(b"serve".to_vec()));
    let engine = Engine::start(&app);
    route(&app, Some("lo"));
    let mut steering = Steering::on(&app, filter);
    let mut older: Vec<Client> = FAMILIES
        .map(|family| app.connect(srv.at(family, SERVED)).unwrap())
        .into();
    steering.set(&[local(OnFailure::Closed)]).unwrap();
    for client in &mut older {
        assert_eq!(client.receive(5).unwrap(), b"there");
        client.send(b"older").unwrap();
    }
    there.wait_for(|seen| seen.iter().all(|one| one.received == 5));
    for family in FAMILIES {
        let at = app.at(family, SERVED);
        assert_eq!(
            greeting(srv.connect(at)).unwrap(),
            "serve",
            "{filter} {family:?}"
        );
    }
    assert!(engine.wanted().is_empty(), "{filter}");
}

pub fn marks_of_neighbours_are_kept(filter: Filter) {
    let (app, srv) = pair();
    let engine = Engine::start(&app);
    route(&app, Some("lo"));
    // A neighbour marks before us, and counts behind us what holds both marks.
    let theirs = r#"
        add table inet theirs
        add chain inet theirs first { type filter hook output priority -160; }
        add rule inet theirs first tcp dport 80 meta mark set 0x6
        add rule inet theirs first tcp dport 80 ct state new ct mark set 0x5
        add chain inet theirs last { type filter hook output priority 10; }
        add rule inet theirs last tcp dport 80 ct mark 0x80000005 meta mark 0x80000006 counter comment "both"
        add rule inet theirs last tcp dport 80 counter comment "all"
    "#;
    app.program("nft").arg(theirs).run().expect_success();
    let mut steering = Steering::on(&app, filter);
    steering.set(&[local(OnFailure::Closed)]).unwrap();
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        assert_eq!(
            greeting(app.connect(at)).unwrap(),
            HERE,
            "{filter} {family:?}"
        );
    }
    let text = app.program("nft").args(["list", "table", "inet", "theirs"]);
    let text = text.run().expect_success();
    let counted = |comment: &str| {
        let line = text.lines().find(|line| line.contains(comment)).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.iter().position(|word| *word == "packets").unwrap();
        words[at + 1].parse::<u64>().unwrap()
    };
    assert!(counted("\"all\"") >= 6, "{text}");
    assert_eq!(counted("\"both\""), counted("\"all\""), "{filter}: {text}");
    assert_eq!(engine.wanted().len(), 2);
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

pub fn a_policy_rule_with_an_interface_does_not_mind_src_valid_mark(filter: Filter) {
    let (cli, gw, srv) = gateway();
    let _engine = Engine::start(&gw);
    let mut steering = Steering::on(&gw, filter);
    steering
        .set(&[forwarded("eth0", OnFailure::Closed)])
        .unwrap();
    let at = srv.at(Family::V4, SERVED);
    let connect = |within| cli.enter(|| Client::connect_within(at, within));

    route(&gw, Some("eth0"));
    gw.set_sysctl("net/ipv4/conf/all/src_valid_mark", "1");
    for filtering in ["0", "1", "2"] {
        gw.set_sysctl("net/ipv4/conf/all/rp_filter", filtering);
        assert_eq!(
            greeting(connect(SOON)).unwrap(),
            HERE,
            "rp_filter={filtering}"
        );
    }
    unroute(&gw);
    route(&gw, None);
    for filtering in ["0", "1", "2"] {
        gw.set_sysctl("net/ipv4/conf/all/rp_filter", filtering);
        assert_eq!(
            connect(NEVER).err(),
            Some(Failure::TimedOut),
            "rp_filter={filtering}"
        );
    }
    gw.set_sysctl("net/ipv4/conf/all/src_valid_mark", "0");
    assert_eq!(greeting(connect(SOON)).unwrap(), HERE);
}
