//! What is true of transparent steering by every packet filter.

use std::net::SocketAddr;
use std::time::Duration;

use lab::{Client, Failure, Family, Host, Service};
use steer_core::intent::OnFailure;

use super::ends::scenes;
use super::engine::{Engine, HERE, PORT, ask_as, dial_as};
use super::rules::{SERVED, forwarded, forwarded_as_clients, inbound, local, redirected};
use super::{Filter, Steering, gateway, greeting, pair, route, unroute};

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
pub const SOON: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come.
pub const NEVER: Duration = Duration::from_millis(500);

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

pub fn flows_to_loopback_addresses_are_steered_too(filter: Filter) {
    let (app, _srv) = pair();
    let engine = Engine::start(&app);
    route(&app, Some("lo"));
    let mut steering = Steering::on(&app, filter);
    steering.set(&[local(OnFailure::Closed)]).unwrap();
    for ip in ["127.0.0.53", "::1"] {
        let at = SocketAddr::new(ip.parse().unwrap(), SERVED);
        assert_eq!(greeting(app.connect(at)).unwrap(), HERE, "{filter} {at}");
        let answer = app.ask_udp(at, b"x", SOON).unwrap();
        assert_eq!(answer, (HERE.into(), at), "{filter}");
        assert_eq!(
            engine.wanted().split_off(engine.wanted().len() - 2),
            [at, at]
        );
    }
}

pub fn the_engine_can_come_as_its_client(filter: Filter) {
    let (cli, gw, srv) = gateway();
    let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let echo = srv.serve_udp(SERVED);
    let _engine = Engine::start(&gw);
    route(&gw, None);
    let mut steering = Steering::on(&gw, filter);
    steering.set(&[forwarded_as_clients("eth0")]).unwrap();
    for family in FAMILIES {
        let (client, at) = (cli.address(family), srv.at(family, SERVED));
        assert_eq!(
            greeting(cli.connect(at)).unwrap(),
            HERE,
            "{filter} {family:?}"
        );
        let (from, said) = dial_as(&gw, client, at);
        assert_eq!(said, "there", "{filter} {family:?}");
        assert_eq!(from.ip(), client);
        assert!(there.seen().iter().any(|one| one.peer == from));
        assert_eq!(ask_as(&gw, client, at), b"x", "{filter} {family:?}");
        assert!(echo.seen().iter().any(|one| one.peer.ip() == client));
    }
}

pub fn inbound_flows_are_steered_and_those_of_the_host_itself_are_not(filter: Filter) {
    let (app, srv) = pair();
    let _own = app.serve(SERVED, Service::Banner(b"serve".to_vec()));
    // No server of datagrams: its port could not be bound again to answer from there.
    let before = filter.snapshot(&app);
    let mut steering = Steering::on(&app, filter);
    steering.set(&[inbound(OnFailure::Closed)]).unwrap();
    let engine = Engine::start(&app);
    for family in FAMILIES {
        let at = app.at(family, SERVED);
        let mut live = srv.connect(at).unwrap();
        assert_eq!(
            live.receive(5).unwrap(),
            HERE.as_bytes(),
            "{filter} {family:?}"
        );
        live.send(b"again").unwrap();
        assert_eq!(live.receive(5).unwrap(), b"again");
        assert_eq!(
            srv.ask_udp(at, b"x", SOON).unwrap(),
            (HERE.into(), at),
            "{filter}"
        );
        assert_eq!(
            engine.wanted().split_off(engine.wanted().len() - 2),
            [at, at]
        );
        // This is how the engine gets to the server itself.
        assert_eq!(greeting(app.connect(at)).unwrap(), "serve", "{filter}");
        let own = app.ask_udp(at, b"x", SOON);
        assert_eq!(own, Err(Failure::Refused), "{filter}");
    }
    drop(engine);
    if filter == Filter::Nft {
        let at = app.at(Family::V4, SERVED);
        assert_eq!(srv.connect(at).err(), Some(Failure::Refused));
        let refused = srv.ask_udp(at, b"x", SOON).unwrap_err();
        assert_eq!(refused, Failure::Unreachable);
    }
    steering.set(&[]).unwrap();
    filter.snapshot(&app).assert_same_as(&before);
}

pub fn redirected_flows_reach_a_listener_that_nobody_reaches_directly(filter: Filter) {
    let (cli, gw, srv) = gateway();
    let there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
    let _here = gw.serve(PORT, Service::Banner(b"here!".to_vec()));
    let echo = gw.serve_udp(PORT);
    let mut steering = Steering::on(&gw, filter);
    steering.set(&[redirected("eth0")]).unwrap();
    for family in FAMILIES {
        let at = srv.at(family, SERVED);
        assert_eq!(
            greeting(cli.connect(at)).unwrap(),
            HERE,
            "{filter} {family:?}"
        );
        // The answer comes from where the question went.
        let answer = cli.ask_udp(at, b"x", SOON).unwrap();
        assert_eq!(answer, (b"x".to_vec(), at), "{filter}");
        let directly = gw.at(family, PORT);
        assert_eq!(
            cli.connect(directly).err(),
            Some(Failure::Refused),
            "{filter}"
        );
        let refused = cli.ask_udp(directly, b"x", SOON).unwrap_err();
        // The families report "administratively prohibited" differently.
        let expected = match family {
            Family::V4 => Failure::Unreachable,
            Family::V6 => Failure::Denied,
        };
        assert_eq!(refused, expected, "{filter}");
    }
    assert!(there.seen().is_empty());
    assert_eq!(echo.seen().len(), 2);
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

pub fn a_neighbours_reverse_path_filter_is_passed_where_nft_hands_over_behind_it(filter: Filter) {
    // As firewalld has it for IPv6 (at 10, and once at -140), in both families.
    let check = |host: &Host, priority: &str| {
        let theirs = format!(
            "add table inet theirs
             add chain inet theirs check {{ type filter hook prerouting priority {priority}; }}
             add rule inet theirs check fib saddr . mark . iif oif missing drop"
        );
        host.program("nft").arg(&theirs).run().expect_success();
    };
    for priority in ["-140", "10"] {
        for (client, (app, srv), rules, interface) in scenes(OnFailure::Closed) {
            check(&app, priority);
            let _engine = Engine::start(&app);
            route(&app, Some(interface));
            let mut steering = Steering::on(&app, filter);
            steering.set(&[rules]).unwrap();
            for family in FAMILIES {
                let at = srv.at(family, SERVED);
                let what = format!("{filter} {family:?} {interface} {priority}");
                if interface == "lo" && filter != Filter::Nft {
                    // The table mangle comes before it, and once a packet has a listener, its
                    // return at lo is not enough any more.
                    let connect = || Client::connect_within(at, NEVER);
                    let failure = client.enter(connect).err();
                    assert_eq!(failure, Some(Failure::TimedOut), "{what}");
                    continue;
                }
                assert_eq!(greeting(client.connect(at)).as_deref(), Ok(HERE), "{what}");
                let answer = client.ask_udp(at, b"x", SOON);
                assert_eq!(answer, Ok((HERE.into(), at)), "{what}");
            }
        }
        if filter == Filter::Nft {
            let (cli, gw, srv) = gateway();
            let _there = srv.serve(SERVED, Service::Banner(b"there".to_vec()));
            check(&gw, priority);
            route(&gw, None);
            let mut steering = Steering::on(&gw, filter);
            steering.set(&[forwarded_as_clients("eth0")]).unwrap();
            for family in FAMILIES {
                let (_, said) = dial_as(&gw, cli.address(family), srv.at(family, SERVED));
                assert_eq!(said, "there", "{family:?} {priority}");
            }
        }
    }
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

    // Packets of this host's own are on their way already when they come back at lo.
    let (app, srv) = pair();
    let _engine = Engine::start(&app);
    route(&app, Some("lo"));
    let mut steering = Steering::on(&app, filter);
    steering.set(&[local(OnFailure::Closed)]).unwrap();
    app.set_sysctl("net/ipv4/conf/all/src_valid_mark", "1");
    for filtering in ["0", "1", "2"] {
        app.set_sysctl("net/ipv4/conf/all/rp_filter", filtering);
        let at = srv.at(Family::V4, SERVED);
        assert_eq!(
            greeting(app.connect(at)).unwrap(),
            HERE,
            "rp_filter={filtering}"
        );
        assert_eq!(app.ask_udp(at, b"x", SOON).unwrap(), (HERE.into(), at));
    }
}
