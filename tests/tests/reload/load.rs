//! Hundreds of reloads while connections are made.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lab::{Family, Service, eventually};

use crate::scene::{Up, Went, way};
use crate::site::{Means, Site};

/// Each reload changes something; nobody who connects or is connected meanwhile notices.
fn many_reloads(means: Means) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "load");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    // How hooks are attached lasts.
    let turns = match means {
        Means::Ebpf => 1,
        _ => 2,
    };
    let lines = |turn: usize| {
        format!(
            "on_failure: {}\nlog: {{ connections: {{ file: {} }} }}\n\
             traffic: {{ exclude: {{ cidrs: [192.0.2.{}/32], ports: [{}] }} }}\n\
             rules: [{{ name: r{turn}, match: {{ port: 7 }}, action: direct }}]",
            ["open", "closed"][turn % turns],
            site.log().display(),
            turn % 200,
            2000 + turn,
        )
    };
    let up = Up::start(&site, means, &lines(0));
    let keeper = site.process("keeper");
    let live = site.live(echo, 10);
    live.wait_round();
    let (stop, connects) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = |pid: i32| {
        let listed = fs::read_dir(format!("/proc/{pid}/fd")).expect("it is there");
        listed.count()
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(way(&site, echo), Went::Direct);
                    connects.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let reloads = scope.spawn(|| (1..=RELOADS).for_each(|turn| up.reload(&lines(turn))));
        let done = reloads.join();
        stop.store(true, Ordering::Relaxed);
        done.expect("each is read");
    });
    live.wait_round();
    assert!(live.stop().iter().all(|one| !one.corrupt));
    let connects = usize::try_from(connects.load(Ordering::Relaxed)).expect("a count");
    // Every connection was the engine's, and each has its record.
    site.records().wait_for(connects + 10);
    assert_eq!(site.records().all().len(), connects + 10);
    up.reload(&lines(0));
    let (engine, kept) = (count(up.proc.pid()), count(keeper));
    for turn in 1..=20 {
        up.reload(&lines(turn));
    }
    up.reload(&lines(0));
    eventually("no descriptor is left over", || {
        (count(up.proc.pid()) <= engine && count(keeper) <= kept).then_some(())
    });
    up.stop();
}

/// So many are asked of a lab; the same number for everybody who looks for a leak.
const RELOADS: usize = 200;

#[test]
fn hundreds_of_reloads_lose_no_connection_and_leave_nothing_redirect_nft() {
    many_reloads(Means::RedirectNft);
}

#[test]
fn hundreds_of_reloads_lose_no_connection_and_leave_nothing_tproxy_nft() {
    many_reloads(Means::TproxyNft);
}

#[test]
fn hundreds_of_reloads_lose_no_connection_and_leave_nothing_ebpf() {
    lab::require!(Root, Cgroup2);
    many_reloads(Means::Ebpf);
}
