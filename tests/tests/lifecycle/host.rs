//! Death of what steers a whole host.

use std::path::Path;
use std::time::Duration;

use lab::{End, Family, LiveConnection, Service, Signal, Status, eventually};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, kill, left_by};

/// How many connections live when something dies.
const MANY: usize = 200;

fn config(means: Means, on_failure: OnFailure) -> String {
    format!(
        "{means}scope: {{ host: true }}\n\
         on_failure: {on_failure}\nlisten: {{ outbound: 15001 }}\n"
    )
}

/// The engine alone dies: under open direct connections work, and nothing of ours is left.
fn engine_killed_open(means: Means, family: Family) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "host");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(family, 7);
    let up = site.up(&config(means, OnFailure::Open)).spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    let live = site.live(at, MANY);
    live.wait_round();
    assert_eq!(up.kill(), Status::Killed(9));
    assert_all_reset(&live.wait_ended());
    let mut direct = eventually("direct connections work", || {
        let mut client = site.connect(at).ok()?;
        echoes(&mut client, b"directly").then_some(client)
    });
    assert!(left_by(&witness, &[direct.local()]) > 0);
    site.wait_untouched();
    assert!(echoes(&mut direct, b"still"));
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_nft() {
    engine_killed_open(Means::RedirectNft, Family::V6);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_iptables() {
    engine_killed_open(Means::RedirectIptables, Family::V4);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_ebpf_v4() {
    engine_killed_open(Means::Ebpf, Family::V4);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_ebpf_v6() {
    engine_killed_open(Means::Ebpf, Family::V6);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_tproxy_nft() {
    engine_killed_open(Means::TproxyNft, Family::V4);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_tproxy_legacy() {
    engine_killed_open(Means::TproxyLegacy, Family::V4);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_tun_v4() {
    engine_killed_open(Means::Tun, Family::V4);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_tun_v6() {
    engine_killed_open(Means::Tun, Family::V6);
}

#[test]
fn a_killed_engine_leaves_nothing_under_open_tap() {
    engine_killed_open(Means::Tap, Family::V4);
}

fn assert_all_reset(ended: &[LiveConnection]) {
    let odd = ended.iter().find(|one| one.end != End::Reset);
    assert!(odd.is_none(), "not reset: {odd:#?}");
}

/// Engine and keeper die at once: connections that were steered do not go on in clear, and those
/// that were there before are let alone.
fn both_killed_closed(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let site = Site::of_host_apart(means, "bothhost");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let mut old = site.connect(at).expect("nothing is steered");
    assert!(echoes(&mut old, b"before"));
    let up = site.up(&config(means, OnFailure::Closed)).spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    let live = site.live(at, MANY);
    live.wait_round();
    assert!(echoes(&mut old, b"meanwhile"));
    kill(&[site.process("keeper"), up.pid()]);
    assert_eq!(up.wait(), Status::Killed(9));
    let ended = live.wait_ended();
    assert_all_reset(&ended);
    let locals: Vec<_> = ended.iter().map(|one| one.local).collect();
    assert_eq!(left_by(&witness, &locals), 0, "they went on in clear");
    witness.clear();
    match means {
        // Its target drops what no socket takes.
        Means::TproxyIptables | Means::TproxyLegacy => {
            let connect = || lab::Client::connect_within(at, Duration::from_secs(1));
            eventually("connections go nowhere", || site.app.enter(connect).err());
            assert_eq!(witness.packets(lab::Packet::is_connect), []);
        }
        _ => {
            // The keeper has the port for as long as its death takes: one may be taken yet, and reset.
            eventually("connections are refused", || site.connect(at).err());
            assert_refused(site.connect(at));
        }
    }
    assert!(echoes(&mut old, b"after"));
    site.steer().arg("clean").run().expect_success();
    site.assert_untouched();
    let mut direct = site.connect(at).expect("direct connections work");
    assert!(echoes(&mut direct, b"directly"));
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_nft() {
    both_killed_closed(Means::RedirectNft);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_iptables() {
    both_killed_closed(Means::RedirectIptables);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_tproxy_nft() {
    both_killed_closed(Means::TproxyNft);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_tproxy_iptables() {
    both_killed_closed(Means::TproxyIptables);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_ebpf() {
    both_killed_closed(Means::Ebpf);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_tun() {
    both_killed_closed(Means::Tun);
}

#[test]
fn guards_refuse_and_spare_what_was_before_when_both_are_killed_tap() {
    both_killed_closed(Means::Tap);
}

/// A whole host whose engine died closed: the next start takes over what refused, and steers.
fn restarted(means: Means) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "again");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let start = || {
        let up = site.up(&config(means, OnFailure::Closed)).spawn();
        up.wait_line(|line| line.contains("in force"));
        up
    };
    let first = start();
    let steered = site.rules();
    assert!(echoes(&mut site.connect(at).expect("it is steered"), b"1"));
    let keeper = site.process("keeper");
    first.kill();
    eventually("the keeper has done its work", || {
        (!Path::new(&format!("/proc/{keeper}")).exists()).then_some(())
    });
    assert_refused(site.connect(at));
    let refusing = site.rules();
    // Hooks are there or not, and refuse by themselves what they cannot lead anywhere.
    let fewer = refusing.len() < steered.len() || means == Means::Ebpf;
    assert!(!refusing.is_empty() && fewer);

    let second = start();
    let witness = site.witness();
    let mut client = site.connect(at).expect("it is steered again");
    assert!(echoes(&mut client, b"2"));
    assert_eq!(left_by(&witness, &[client.local()]), 0);
    drop(client);
    assert_eq!(site.rules(), steered, "one set of rules, and no second");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait(), Status::Exited(0));
    site.assert_untouched();
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_nft() {
    restarted(Means::RedirectNft);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_iptables() {
    restarted(Means::RedirectIptables);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_legacy() {
    restarted(Means::RedirectLegacy);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_ebpf() {
    restarted(Means::Ebpf);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_tproxy_nft() {
    restarted(Means::TproxyNft);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_tproxy_iptables() {
    restarted(Means::TproxyIptables);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_tun() {
    restarted(Means::Tun);
}

#[test]
fn a_restart_adopts_what_a_closed_crash_left_tap() {
    restarted(Means::Tap);
}
