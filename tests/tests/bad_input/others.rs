//! Things of others that bear our names.

use std::time::Duration;

use lab::{End, Family, Live, Service, Signal, Status, eventually};

use crate::assert_refuses;
use crate::site::{Means, OnFailure, Site, assert_refused, echoes, left_by};

#[test]
fn a_foreign_table_with_our_name_is_left_alone_and_named() {
    lab::require!(Namespaces, Cgroup2, Program("nft"));
    for suffix in ["", "_guard"] {
        let site = Site::new("foreign");
        let table = format!("steer_{}{suffix}", site.name);
        let rules = format!("add table inet {table} {{ chain theirs {{ counter; }}; }}\n");
        let nft = site.app.program("nft").args(["-f", "-"]).input(rules);
        nft.run().expect_success();
        let held = site.state();
        let output = site
            .run(Means::RedirectNft, OnFailure::Closed)
            .args(["echo", "never"])
            .run();
        let remedy = format!("nft delete table inet {table}");
        assert_refuses(
            &output,
            &[
                &table,
                "belongs to another program",
                &remedy,
                "another instance name",
            ],
        );
        site.state().assert_same_as(&held);
    }
}

/// iptables chains have no tag but their names: one that is named as ours are is taken over where
/// a steering of that name starts, and others stay.
#[test]
fn foreign_chains_with_names_like_ours_stay() {
    lab::require!(Namespaces, Cgroup2, Program("iptables-restore"));
    let site = Site::new("chains");
    let rules = format!(
        "*filter\n:STEER_{name}x_GUARD - [0:0]\n:STEERAGE - [0:0]\n\
         -A STEERAGE -j RETURN\n-A OUTPUT -j STEERAGE\nCOMMIT\n",
        name = site.name
    );
    for restore in ["iptables-restore", "ip6tables-restore"] {
        let program = site.app.program(restore).arg("--noflush");
        program.input(rules.clone()).run().expect_success();
    }
    let held = site.state();
    let output = site
        .run(Means::RedirectIptables, OnFailure::Closed)
        .args(["echo", "it runs"])
        .run();
    assert_eq!(output.expect_success(), "it runs\n");
    site.state().assert_same_as(&held);
}

/// Another program removes the table that rewrites: what was steered does not go on in clear.
#[test]
fn a_foreign_deletion_of_the_nat_table_lets_nothing_out() {
    lab::require!(Namespaces, Program("nft"), Program("iptables"));
    let site = Site::new("wipe");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let mut old = site.app.connect(at).expect("nothing is steered");
    assert!(echoes(&mut old, b"before"));
    let up = site
        .up("method: redirect\nbackend: iptables\nscope: { host: true }\non_failure: closed\n")
        .spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    let live = Live::start(&site.app, at, 20);
    live.wait_round();
    let wipe = ["delete", "table", "ip", "nat"];
    site.app.program("nft").args(wipe).run().expect_success();
    let ended = live.wait_ended();
    assert!(ended.iter().all(|one| one.end == End::Reset), "{ended:#?}");
    let locals: Vec<_> = ended.iter().map(|one| one.local).collect();
    assert_eq!(left_by(&witness, &locals), 0, "they went on in clear");
    assert_refused(site.app.connect(at));
    assert!(echoes(&mut old, b"after"));
    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait(), Status::Exited(0));
    site.assert_untouched();
}

/// Another program flushes the rules of the whole host while we steer.
#[test]
fn a_foreign_flush_does_not_open_a_steered_host() {
    lab::require!(Namespaces, Cgroup2, Program("nft"));
    let site = Site::apart("flush");
    let server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let up = site
        .up("method: redirect\nbackend: nft\nscope: { host: true }\non_failure: closed\n")
        .spawn();
    up.wait_line(|line| line.contains("in force"));
    site.app
        .program("nft")
        .args(["flush", "ruleset"])
        .run()
        .expect_success();
    let mut client = site.app.connect(at).expect("it is steered");
    assert!(echoes(&mut client, b"steered"));
    let seen = server.wait_for(|seen| seen.len() == 1);
    assert_ne!(seen[0].peer, client.local(), "it came through the engine");
    drop(client);
    // What refuses was flushed as well, and comes back when it is needed.
    up.kill();
    let guard = format!("table inet steer_{}_guard", site.name);
    eventually("what refuses stands again", || {
        let rules = site.rules();
        rules.iter().any(|line| line.contains(&guard)).then_some(())
    });
    assert_refused(site.app.connect(at));
    assert_eq!(server.seen().len(), 1);
    // The keeper leaves when it is done; until then the steering counts as in force.
    eventually("it can be cleaned", || {
        let said = site.steer().arg("clean").run().expect_success();
        said.contains("removed nft table").then_some(())
    });
    site.assert_untouched();
}

/// What a host does to the rules that steer, so that they do not take a connection.
fn refused_where_it_cannot_be_steered(family: Family, hinder: impl Fn(&Site)) {
    lab::require!(Namespaces, Cgroup2, Program("nft"));
    let site = Site::new("hindered");
    hinder(&site);
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(family, 7);
    let witness = site.witness();
    // The positive control: it is only the scope that is refused.
    let mut outside = site.app.connect(at).expect("the server listens");
    assert!(echoes(&mut outside, b"direct"));
    assert!(left_by(&witness, &[outside.local()]) > 0);
    witness.clear();

    let agent = site.agent(Means::RedirectNft, OnFailure::Closed);
    // A loopback device without IPv6 loses the refusal too: the program waits, and nothing leaves.
    assert!(agent.connect_within(at, Duration::from_secs(2)).is_err());
    assert_eq!(witness.packets(|p| p.destination.port() == 7).len(), 0);
    agent.finish();
}

#[test]
fn ipv6_is_refused_where_there_is_no_address_to_listen_on() {
    refused_where_it_cannot_be_steered(Family::V6, |site| {
        site.app.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1");
    });
}

#[test]
fn tcp_that_another_program_keeps_from_conntrack_is_refused() {
    refused_where_it_cannot_be_steered(Family::V4, |site| {
        let rules = "table inet web { chain out { type filter hook output priority raw; \
                     tcp dport 7 notrack; }; }\n";
        let nft = site.app.program("nft").args(["-f", "-"]).input(rules);
        nft.run().expect_success();
    });
}
