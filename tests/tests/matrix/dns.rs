//! DNS that comes to the engine: both transports, any resolver, and what is learned from answers.

use std::net::{IpAddr, SocketAddr};

use lab::{Capture, Family, Resolver, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

/// A real resolver on the servers' host that knows where the servers are.
pub(crate) fn resolver(stage: &Stage, names: &[&str]) -> Resolver {
    let addresses = Family::BOTH.map(|family| stage.srv.address(family));
    let [v4, v6] = addresses;
    let records: Vec<_> = names
        .iter()
        .map(|name| format!("host-record={name},{v4},{v6}"))
        .collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    stage.srv.resolve(&addresses, &records)
}

/// What `dig` says in short, by the program's own choice of everything else.
pub(crate) fn dig(rig: &Rig, at: IpAddr, words: &[&str]) -> String {
    let dig = rig.host().program("dig").arg(format!("@{at}"));
    let dig = dig.args(["+short", "+tries=1"]).args(words);
    rig.run(dig).expect_success()
}

pub(crate) fn capture(policy: impl Into<String>) -> Setup {
    Setup {
        traffic: "{ dns: capture }".to_owned(),
        ..Setup::policy(policy)
    }
}

pub(crate) fn dns_is_captured_over_both_transports(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("capture");
    let server = resolver(&stage, &["www.a.example"]);
    let rig = Rig::start(&stage.app, mount, &capture(""));
    for family in Family::BOTH {
        let at = stage.srv.address(family);
        for over in ["+notcp", "+tcp"] {
            let said = dig(&rig,
                at,
                &[over, "www.a.example", "A", "www.a.example", "AAAA"],
            );
            let [v4, v6] = Family::BOTH.map(|family| stage.srv.address(family));
            assert_eq!(said, format!("{v4}\n{v6}\n"), "{at} {over}");
            assert_eq!(dig(&rig, at, &[over, "none.example", "A"]), "");
        }
    }
    // Asked by the engine, for each question.
    assert_eq!(server.asked().len(), 12, "{:#?}", server.asked());
    let records = rig.finish();
    for family in Family::BOTH {
        for protocol in ["udp", "tcp"] {
            let to = stage.at(family, 53).to_string();
            let mut of = records.iter().filter(|it| it["protocol"] == protocol);
            let record = of.find(|it| it["destination"] == to);
            let record = record.unwrap_or_else(|| panic!("{protocol} {to}: {records:#?}"));
            assert_eq!(
                (&record["app"], &record["outcome"]),
                (&"dns".into(), &"ok".into())
            );
        }
    }
}

/// Where the machine's resolver is a daemon on loopback, programs ask that.
pub(crate) fn dns_to_a_stub_on_loopback_is_captured(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("stub");
    let server = resolver(&stage, &["www.a.example"]);
    let [v4, v6] = Family::BOTH.map(|family| stage.srv.address(family));
    for chosen in [v4, v6] {
        let setup = capture(format!("dns: {{ resolver: \"{chosen}\" }}\n"));
        let rig = Rig::start(&stage.app, mount, &setup);
        // Nobody has a resolver at these addresses; the answer still comes from them.
        for at in [
            "127.0.0.53",
            "127.0.0.1",
            "::1",
            "203.0.113.53",
            "2001:db8::53",
        ] {
            let at: IpAddr = at.parse().expect("an address");
            for over in ["+notcp", "+tcp"] {
                let said = dig(&rig, at, &[over, "www.a.example", "AAAA"]);
                assert_eq!(said, format!("{v6}\n"), "{at} {over}, by {chosen}");
            }
        }
        drop(rig);
    }
    assert_eq!(server.asked().len(), 20, "{:#?}", server.asked());
}

pub(crate) fn dns_is_left_alone_where_asked(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("dnsleft");
    let _server = resolver(&stage, &["www.a.example"]);
    for on_failure in mount.on_failures() {
        let setup = Setup {
            on_failure: (*on_failure).to_owned(),
            ..Setup::traffic("{ dns: leave }")
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for over in ["+notcp", "+tcp"] {
            let said = dig(&rig,
                stage.srv.address(Family::V4),
                &[over, "www.a.example", "A"],
            );
            assert_eq!(
                said,
                format!("{}\n", stage.srv.address(Family::V4)),
                "{on_failure} {over}"
            );
        }
        assert_eq!(rig.finish().len(), 0);
    }
}

/// By name alone, without made-up addresses: the rules follow the answers.
pub(crate) fn only_connections_to_chosen_names_are_steered(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("domains");
    let [chosen, moved, other] = [7, 8, 9].map(|n| stage.another_address(Family::V4, n));
    let chosen6 = stage.another_address(Family::V6, 7);
    let at = stage.srv.address(Family::V4);
    let zone = |chosen: IpAddr| {
        let records = [
            format!("host-record=www.chosen.example,{chosen},{chosen6}"),
            format!("host-record=www.other.example,{other}"),
        ];
        stage
            .srv
            .resolve(&[at], &records.each_ref().map(String::as_str))
    };
    let server = stage.srv.serve(7, Service::Echo);
    let resolver = zone(chosen);
    let setup = Setup {
        traffic: "{ dns: capture, include: { domains: [\"*.chosen.example\"] } }".to_owned(),
        ..Setup::policy(format!("dns: {{ resolver: \"{at}\" }}\n"))
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    let is_direct = |ip: IpAddr| {
        let mut client = rig
            .connect(SocketAddr::new(ip, 7))
            .expect("the server listens");
        client.send(b"hello").expect("the connection stands");
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
        server.seen().iter().any(|one| one.peer == client.local())
    };
    assert!(is_direct(chosen), "nobody has asked for the name");
    dig(&rig,
        at,
        &["www.chosen.example", "A", "www.chosen.example", "AAAA"],
    );
    dig(&rig, at, &["www.other.example", "A"]);
    assert!(
        !is_direct(chosen) && !is_direct(chosen6),
        "chosen, and not steered"
    );
    assert!(is_direct(other) && is_direct(moved), "others were steered");
    // The name moves, and the rules with it.
    drop(resolver);
    let _resolver = zone(moved);
    assert_eq!(
        dig(&rig, at, &["www.chosen.example", "A"]),
        format!("{moved}\n")
    );
    assert!(!is_direct(moved), "followed");
    let hosts: Vec<_> = rig.records().wait("the records", |records| {
        records
            .iter()
            .filter(|it| {
                it["destination"]
                    .as_str()
                    .is_some_and(|to| to.ends_with(":7"))
            })
            .count()
            == 3
    });
    let ours = hosts.iter().filter(|it| it["app"] != "dns");
    assert!(
        ours.clone().all(|it| it["host"] == "www.chosen.example"),
        "{hosts:#?}"
    );
}

/// Forwarded ones too: see [`super::gateway`]. Here the witness sees that none leaves by itself.
pub(crate) fn captured_dns_never_leaves_by_itself(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let stage = Stage::new("dnsleak");
    let _resolver = resolver(&stage, &["www.a.example"]);
    let other = stage.lab.host("other");
    stage.lab.link(&stage.app, &other);
    let chosen = stage.srv.address(Family::V6);
    let witness = Capture::start(&stage.app, "eth1");
    let at = other.address(Family::V4);
    let question = |packet: &lab::Packet| packet.destination == SocketAddr::new(at, 53);
    // The witness does see questions to that address.
    let lost = stage
        .app
        .program("dig")
        .arg(format!("@{at}"))
        .args(["+tries=1", "+time=1"]);
    lost.args(["+notcp", "www.a.example"]).run();
    witness.wait_for(question);
    witness.clear();
    let setup = capture(format!("dns: {{ resolver: \"{chosen}\" }}\n"));
    let rig = Rig::start(&stage.app, mount, &setup);
    for over in ["+notcp", "+tcp"] {
        let said = dig(&rig, at, &[over, "www.a.example", "AAAA"]);
        assert_eq!(said, format!("{chosen}\n"), "{over}");
    }
    assert_eq!(witness.packets(question), []);
    drop(rig);
}
