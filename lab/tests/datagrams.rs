//! Datagrams, by sockets of the lab and by real programs.

use std::net::SocketAddr;
use std::time::Duration;

use lab::{Capture, Failure, Family, Iperf, Lab, Pattern, Section, Snapshot};

#[test]
fn a_connected_socket_and_an_unconnected_one_are_told_of_a_refusal() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("udp");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve_udp(7);
    for family in Family::BOTH {
        let (to, closed) = (srv.at(family, 7), srv.at(family, 9));
        let connected = app.udp_to(to).expect("there is a route");
        connected.send(b"connected").expect("it is sent");
        assert_eq!(connected.receive(), Ok((b"connected".to_vec(), to)));
        let free = app.udp(family);
        assert_eq!(free.ask(to, b"free"), Ok((b"free".to_vec(), to)));
        let refused = app.udp_to(closed).expect("there is a route");
        refused.send(b"anyone?").expect("it is sent");
        assert_eq!(refused.receive(), Err(Failure::Refused));
        assert_eq!(free.ask(closed, b"anyone?"), Err(Failure::Refused));
        // The error was told once, and the socket goes on.
        assert_eq!(free.ask(to, b"still"), Ok((b"still".to_vec(), to)));
        free.patience(Duration::from_millis(50));
        assert_eq!(free.receive(), Err(Failure::TimedOut));
        let seen = server.wait_for(|seen| seen.last().is_some_and(|it| it.payload == b"still"));
        assert_eq!(seen.last().expect("one").peer.port(), free.local().port());
    }
}

#[test]
fn empty_and_the_largest_datagrams_arrive() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("size");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let _server = srv.serve_udp(7);
    for (family, largest) in [(Family::V4, 65_507), (Family::V6, 65_487)] {
        for length in [0, 1, 1472, 1473, largest] {
            let bytes = Pattern(5).bytes(length);
            let to = srv.at(family, 7);
            assert!(
                app.udp(family).ask(to, &bytes) == Ok((bytes, to)),
                "{to}: {length}"
            );
        }
    }
}

#[test]
fn a_buffer_is_cut_into_datagrams_by_the_kernel() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("segments");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve_udp(7);
    let client = app.udp_to(srv.at(Family::V6, 7)).expect("there is a route");
    let bytes = Pattern(6).bytes(10_300);
    client.send_segmented(&bytes, 1_000).expect("it is sent");
    let seen = server.wait_for(|seen| seen.len() == 11);
    assert_eq!(seen.last().map(|it| it.payload.len()), Some(300));
    assert!(seen.into_iter().flat_map(|it| it.payload).eq(bytes));
    client.send(&[7; 2_000]).expect("it is sent");
    server.wait_for(|seen| seen.last().is_some_and(|it| it.payload.len() == 2_000));
}

#[test]
fn a_router_forwards_datagrams_and_a_witness_sees_them_on_both_sides() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("gate");
    let (app, gate, srv) = (lab.host("app"), lab.router("gate"), lab.host("srv"));
    let (_, inner) = lab.link(&app, &gate);
    let (outer, _) = lab.link(&gate, &srv);
    assert_eq!((inner.name.as_str(), outer.name.as_str()), ("eth0", "eth1"));
    let server = srv.serve_udp(7);
    let witnesses = [&inner, &outer].map(|it| Capture::start(&gate, &it.name));
    for family in Family::BOTH {
        let to = srv.at(family, 7);
        let client = app.udp(family);
        assert_eq!(
            client.ask(to, b"forwarded"),
            Ok((b"forwarded".to_vec(), to))
        );
        let local = SocketAddr::new(app.address(family), client.local().port());
        assert_eq!(
            server
                .wait_for(|seen| !seen.is_empty())
                .last()
                .map(|it| it.peer),
            Some(local)
        );
        for witness in &witnesses {
            witness.wait_for(|packet| packet.source == local && packet.carries(b"forwarded"));
        }
        assert_eq!(
            client.ask(srv.at(family, 9), b"closed"),
            Err(Failure::Refused)
        );
    }
}

#[test]
fn flows_that_rules_act_on_are_seen_until_they_end() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("nft"),
        Program("conntrack")
    );
    let lab = Lab::new("flows");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let _server = srv.serve_udp(7);
    let to = srv.at(Family::V4, 7);
    let before = Snapshot::take(&app);
    let rules = "table ip t { chain c { type nat hook output priority 0; udp dport 8 redirect to :7; }; \
                 chain m { type filter hook output priority 0; udp dport 7 ct mark set 9; }; }\n";
    app.program("nft")
        .args(["-f", "-"])
        .input(rules)
        .run()
        .expect_success();
    app.udp(Family::V4)
        .ask(to, b"marked")
        .expect("it is echoed");
    let local = app.serve_udp(7);
    let rewritten = app.udp(Family::V4);
    rewritten
        .ask(SocketAddr::new(to.ip(), 8), b"rewritten")
        .expect("it is echoed");
    drop(local);
    app.program("nft")
        .args(["flush", "ruleset"])
        .run()
        .expect_success();
    let flows = Snapshot::take(&app).lines(Section::Conntrack).to_vec();
    assert_eq!(flows.len(), 2, "{flows:#?}");
    let only = |snapshot: Snapshot| snapshot.keep(|section, _| section == Section::Conntrack);
    let after = only(Snapshot::take(&app));
    assert!(after.changes_since(&only(before.clone())).is_some());
    app.program("conntrack")
        .args(["-D", "-p", "udp"])
        .run()
        .expect_success();
    Snapshot::wait_same(&app, &before, only);
}

#[test]
fn iperf_counts_on_both_sides() {
    lab::require!(Namespaces, Program("ip"), Program("iperf3"));
    let lab = Lab::new("iperf");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    for family in Family::BOTH {
        let server = srv.serve_iperf();
        let counted = Iperf::of(&app.iperf_udp(srv.address(family)).run().expect_success());
        assert!(counted.sent > 800, "{counted:?}");
        assert!(counted.received > counted.sent / 2, "{counted:?}");
        assert_eq!(server.wait(), lab::Status::Exited(0));
    }
}
