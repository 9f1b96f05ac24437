//! A router steers what it forwards for others, and leaves its own traffic alone.

use std::net::IpAddr;

use lab::{Client, End, Family, Live, Resolver, Server, Service};
use steer_tests::{Gateway, Mount, Rig, Setup};

fn setup(gateway: &Gateway, on_failure: &str) -> Setup {
    Setup {
        on_failure: on_failure.to_owned(),
        ..Setup::scope(gateway.scope())
    }
}

/// Speaks over a connection, and gives what the server saw of it.
fn spoken(server: &Server, mut client: Client) -> (Client, lab::Connection) {
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    let seen = server.seen();
    (client, seen.last().expect("it was asked").clone())
}

pub(crate) fn forwarded_connections_are_steered_and_the_routers_own_are_not(mount: Mount) {
    for on_failure in ["open", "closed"] {
        let gateway = Gateway::new("gate");
        let server = gateway.srv.serve(7, Service::Echo);
        let of_gate = gateway.gate.serve(8, Service::Echo);
        let of_app = gateway.app.serve(7, Service::Echo);
        let rig = Rig::start(&gateway.gate, mount, &setup(&gateway, on_failure));
        for family in Family::BOTH {
            let to = gateway.at(family, 7);
            let (client, seen) = spoken(&server, gateway.app.connect(to).expect("it is forwarded"));
            assert_eq!((client.peer(), seen.local), (to, to));
            assert_eq!(seen.peer.ip(), gateway.outside(family), "the engine called");
            assert_ne!(seen.peer, client.local());
            let local = client.local().to_string();
            drop(client);
            let record = rig.records().wait_to(to);
            assert_eq!(
                (&record["client"], &record["outcome"]),
                (&local.into(), &"ok".into())
            );
            // The router's own, what is for the router itself, and the other direction.
            let (client, seen) = spoken(&server, gateway.gate.connect(to).expect("it listens"));
            assert_eq!(seen.peer, client.local(), "the router's own was steered");
            let at = gateway.gate.at(family, 8);
            let (client, seen) = spoken(&of_gate, gateway.app.connect(at).expect("it listens"));
            assert_eq!(
                seen.peer,
                client.local(),
                "what is for the router was steered"
            );
            let at = gateway.app.at(family, 7);
            let (client, seen) = spoken(&of_app, gateway.srv.connect(at).expect("it listens"));
            assert_eq!(seen.peer, client.local(), "the other direction was steered");
        }
        assert_eq!(rig.finish().len(), 2, "{on_failure}");
    }
}

/// Starting, serving and stopping leave alone what was connected before.
pub(crate) fn forwarded_connections_from_before_go_on_untouched(mount: Mount) {
    for on_failure in ["open", "closed"] {
        let gateway = Gateway::new("gatelive");
        let server = gateway.srv.serve(7, Service::Echo);
        let live = Family::BOTH.map(|family| Live::start(&gateway.app, gateway.at(family, 7), 20));
        let go_on = || live.iter().for_each(|live| drop(live.wait_round()));
        go_on();
        let rig = Rig::start(&gateway.gate, mount, &setup(&gateway, on_failure));
        go_on();
        let to = gateway.at(Family::V4, 7);
        let (client, _) = spoken(&server, gateway.app.connect(to).expect("it is forwarded"));
        drop(client);
        rig.records().wait_to(to);
        go_on();
        assert_eq!(rig.finish().len(), 1);
        go_on();
        for one in live.into_iter().flat_map(Live::stop) {
            assert_eq!((one.end, one.corrupt), (End::Closed, false), "{one:?}");
        }
        assert_eq!(server.seen().len(), 41);
    }
}

pub(crate) fn forwarded_datagrams_are_steered(mount: Mount) {
    for on_failure in ["open", "closed"] {
        let gateway = Gateway::new("gateudp");
        let server = gateway.srv.serve_udp(7);
        let of_gate = gateway.gate.serve_udp(8);
        let of_app = gateway.app.serve_udp(7);
        let rig = Rig::start(&gateway.gate, mount, &setup(&gateway, on_failure));
        for family in Family::BOTH {
            let to = gateway.at(family, 7);
            let socket = gateway.app.udp(family);
            for word in [&b"one"[..], b"", b"three"] {
                assert_eq!(socket.ask(to, word), Ok((word.to_vec(), to)));
            }
            let seen = server.seen();
            let peer = seen.last().expect("it was asked").peer;
            assert_eq!(peer.ip(), gateway.outside(family), "the engine called");
            let closed = gateway.at(family, 9);
            let refused = socket.ask(closed, b"anyone?");
            assert_eq!(
                refused,
                Err(lab::Failure::Refused),
                "ICMP reaches the client"
            );

            let own = gateway.gate.udp(family);
            own.ask(to, b"own").expect("it is echoed");
            let seen = server.seen();
            let peer = seen.last().expect("it was asked").peer;
            assert_eq!(
                peer.port(),
                own.local().port(),
                "the router's own was steered"
            );
            let at = gateway.gate.at(family, 8);
            assert_eq!(socket.ask(at, b"router"), Ok((b"router".to_vec(), at)));
            let at = gateway.app.at(family, 7);
            assert_eq!(
                gateway.srv.udp(family).ask(at, b"back"),
                Ok((b"back".to_vec(), at))
            );
        }
        assert_eq!((of_gate.seen().len(), of_app.seen().len()), (2, 2));
        let records = rig.finish();
        assert_eq!(records.len(), 4, "{records:#?}");
        assert!(
            records.iter().all(|it| it["protocol"] == "udp"),
            "{records:#?}"
        );
    }
}

/// To any resolver.
pub(crate) fn forwarded_dns_is_captured(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let gateway = Gateway::new("gatedns");
    let [v4, v6] = Family::BOTH.map(|family| gateway.srv.address(family));
    let nobody = "203.0.113.53".parse().expect("an address");
    let (rig, _resolver) = captured(&gateway, mount, &[v4, v6, nobody]);
    let server = gateway.srv.serve(7, Service::Echo);
    // And what was answered names the connection that follows.
    let to = gateway.at(Family::V4, 7);
    let (client, _) = spoken(&server, gateway.app.connect(to).expect("it is forwarded"));
    drop(client);
    let record = rig.records().wait_to(to);
    assert_eq!(
        (&record["host"], &record["host_from"]),
        (&"www.a.example".into(), &"dns".into())
    );
}

/// Routers are what their clients are told to ask.
pub(crate) fn forwarded_dns_to_the_router_itself_is_captured(mount: Mount) {
    lab::require!(Program("dig"), Program("dnsmasq"));
    let gateway = Gateway::new("gateown");
    let own = Family::BOTH.map(|family| gateway.gate.address(family));
    drop(captured(&gateway, mount, &own));
}

/// Asks resolvers that are forwarded to, and one that is not theirs answers.
fn captured(gateway: &Gateway, mount: Mount, at: &[IpAddr]) -> (Rig, Resolver) {
    let [v4, v6] = Family::BOTH.map(|family| gateway.srv.address(family));
    let record = format!("host-record=www.a.example,{v4},{v6}");
    let resolver = gateway.srv.resolve(&[v4, v6], &[&record]);
    let setup = Setup {
        traffic: "{ dns: capture }".to_owned(),
        policy: format!("dns: {{ resolver: \"{v6}\" }}\n"),
        ..Setup::scope(gateway.scope())
    };
    let rig = Rig::start(&gateway.gate, mount, &setup);
    for at in at {
        for over in ["+notcp", "+tcp"] {
            let dig = gateway
                .app
                .program("dig")
                .arg(format!("@{at}"))
                .args(["+short", "+tries=1"]);
            let said = dig
                .args([over, "www.a.example", "A"])
                .run()
                .expect_success();
            assert_eq!(said, format!("{v4}\n"), "{at} {over}");
        }
    }
    assert_eq!(resolver.asked().len(), at.len() * 2, "{:#?}", resolver.asked());
    (rig, resolver)
}

/// The server sees the client, and its answers find the way back to the engine.
pub(crate) fn the_address_of_a_forwarded_client_is_kept(mount: Mount) {
    let gateway = Gateway::new("source");
    let server = gateway.srv.serve(7, Service::Echo);
    let udp = gateway.srv.serve_udp(7);
    let setup = Setup {
        policy: "source: client\n".to_owned(),
        ..setup(&gateway, "closed")
    };
    let rig = Rig::start(&gateway.gate, mount, &setup);
    for family in Family::BOTH {
        let to = gateway.at(family, 7);
        let (client, seen) = spoken(&server, gateway.app.connect(to).expect("it is forwarded"));
        assert_eq!(seen.peer.ip(), gateway.app.address(family));
        drop(client);
        assert_eq!(
            rig.records().wait_to(to)["outcome"],
            "ok",
            "steered all the same"
        );
        let socket = gateway.app.udp(family);
        assert_eq!(socket.ask(to, b"hello"), Ok((b"hello".to_vec(), to)));
        let seen = udp.seen();
        let peer = seen.last().expect("it was asked").peer;
        assert_eq!(peer.ip(), gateway.app.address(family));
    }
    assert_eq!(rig.finish().len(), 4);
}
