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

/// Requests over connections that last, each by a rule of the moment, while the rules change.
#[test]
fn hundreds_of_reloads_lose_no_request() {
    lab::require!(Namespaces);
    let site = Site::new("requests");
    let _http = site.srv.serve(80, Service::Http);
    let http = site.srv.at(Family::V4, 80);
    let lines = |turn: usize| {
        format!(
            "log: {{ connections: {{ file: {} }} }}\n\
             rules: [{{ name: r{turn}, match: {{ port: 80 }}, \
             http: {{ request: {{ set: {{ x-turn: \"turn-{turn}\" }} }} }} }}]",
            site.log().display(),
        )
    };
    let up = Up::start(&site, Means::RedirectNft, &lines(0));
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let ask = |client: &mut lab::Client, more: &str| {
        let request = format!("GET /turn HTTP/1.1\r\nHost: {http}\r\n{more}\r\n");
        client.send(request.as_bytes()).expect("it is taken");
        let mut answer = Vec::new();
        while answer.windows(4).filter(|end| end == b"\r\n\r\n").count() < 2 {
            answer.extend(client.receive(1).expect("it is answered"));
        }
        let answer = String::from_utf8(answer).expect("text");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("turn-"),
            "{answer}"
        );
        asked.fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        // One that stays, and one that comes again for each request.
        scope.spawn(|| {
            let mut client = site.connect(http).expect("let pass");
            while !stop.load(Ordering::Relaxed) {
                ask(&mut client, "");
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut client = site.connect(http).expect("let pass");
                ask(&mut client, "Connection: close\r\n");
            }
        });
        let reloads = scope.spawn(|| (1..=300).for_each(|turn| up.reload(&lines(turn))));
        let done = reloads.join();
        stop.store(true, Ordering::Relaxed);
        done.expect("each is read");
    });
    let asked = usize::try_from(asked.load(Ordering::Relaxed)).expect("a count");
    let records = site.records().wait_for_requests(asked);
    assert_eq!(records.len(), asked);
    let whole =
        |record: &&steer_tests::Record| record["outcome"] == "ok" && record["status"] == 200;
    assert_eq!(records.iter().filter(whole).count(), asked);
    up.stop();
}
