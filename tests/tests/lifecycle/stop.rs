//! Orderly ends: with connections that live, and with none.

use std::fs;
use std::time::Duration;

use lab::{Agent, Client, End, Family, Live, Need, Service, Signal, Status};

use crate::site::{Means, OnFailure, Site, echoes, kill_with, left_by};

/// How many connections live when `steer` is told to stop.
const MANY: usize = 200;

/// A host is steered and stops: what ends in time ends well, the rest is reset, nothing leaks.
fn stopped_with_many(means: Means, family: Family) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "stop");
    let server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(family, 7);
    let log = site.log();
    let up = site
        .up(&format!(
            "{means}scope: {{ host: true }}\n\
             log: {{ connections: {{ file: \"{}\" }} }}\n",
            log.display()
        ))
        .spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    let mut orderly: Vec<Client> = (0..20)
        .map(|_| site.app.connect(at).expect("it is steered"))
        .collect();
    assert!(orderly.iter_mut().all(|client| echoes(client, b"before")));
    let live = Live::start(&site.app, at, MANY);
    live.wait_round();

    up.signal(Signal::SIGTERM);
    up.wait_line(|line| line.ends_with("stops"));
    for client in &mut orderly {
        assert!(echoes(client, b"meanwhile"), "it may go on for a while");
        client.finish();
        assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    }
    let ended = live.wait_ended();
    let odd: Vec<_> = ended
        .iter()
        .filter(|one| one.end != End::Reset || one.corrupt)
        .collect();
    assert!(odd.is_empty(), "{} not reset: {:#?}", odd.len(), odd[0]);
    assert_eq!(up.wait(), Status::Exited(0));

    let locals: Vec<_> = ended
        .iter()
        .map(|one| one.local)
        .chain(orderly.iter().map(Client::local))
        .collect();
    assert_eq!(left_by(&witness, &locals), 0, "some went on in clear");
    let records = site.records().all();
    assert_eq!(records.len(), orderly.len() + MANY);
    let outcome = |wanted: &str| records.iter().filter(|r| r["outcome"] == wanted).count();
    assert_eq!((outcome("ok"), outcome("reset")), (orderly.len(), MANY));
    server.wait_ended(orderly.len() + MANY);
    site.assert_untouched();

    let mut direct = site.app.connect(at).expect("direct connections work");
    assert!(echoes(&mut direct, b"after"));
    witness.wait_for(|p| p.source == direct.local() && p.carries(b"after"));
}

#[test]
fn many_are_drained_or_reset_nft_v4() {
    stopped_with_many(Means::RedirectNft, Family::V4);
}

#[test]
fn many_are_drained_or_reset_iptables_v6() {
    stopped_with_many(Means::RedirectIptables, Family::V6);
}

#[test]
fn many_are_drained_or_reset_tproxy_nft_v6() {
    stopped_with_many(Means::TproxyNft, Family::V6);
}

#[test]
fn many_are_drained_or_reset_tproxy_iptables_v4() {
    stopped_with_many(Means::TproxyIptables, Family::V4);
}

#[test]
fn many_are_drained_or_reset_ebpf_v4() {
    stopped_with_many(Means::Ebpf, Family::V4);
}

#[test]
fn many_are_drained_or_reset_ebpf_v6() {
    stopped_with_many(Means::Ebpf, Family::V6);
}

#[test]
fn many_are_drained_or_reset_tun_v4() {
    stopped_with_many(Means::Tun, Family::V4);
}

#[test]
fn many_are_drained_or_reset_tun_v6() {
    stopped_with_many(Means::Tun, Family::V6);
}

#[test]
fn many_are_drained_or_reset_tap() {
    stopped_with_many(Means::Tap, Family::V4);
}

/// A command is told to end, and its connections outlive it by what is on its way.
#[test]
fn a_command_ended_by_a_signal_takes_its_connections_with_it() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("term");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let witness = site.witness();
    let agent = site.agent(Means::RedirectNft, OnFailure::Closed);
    let clients = (0..MANY).map(|_| agent.connect(at).expect("it is steered"));
    let live = Live::over(clients.collect());
    live.wait_round();
    agent.proc().signal(Signal::SIGTERM);
    // The test holds the sockets on, so they are reset when the patience with them ends.
    let ended = live.wait_ended();
    assert!(ended.iter().all(|one| one.end == End::Reset));
    assert_eq!(agent.proc().wait(), Status::Killed(15));
    let locals: Vec<_> = ended.iter().map(|one| one.local).collect();
    assert_eq!(left_by(&witness, &locals), 0);
    site.assert_untouched();
}

#[test]
fn an_idle_command_ends_by_the_signal_that_steer_gets() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("idle");
    let mut all = vec![Means::RedirectNft, Means::RedirectIptables];
    all.extend(lab::require(&[Need::Root]).then_some(Means::Ebpf));
    for means in all {
        for (signal, number) in [
            (Signal::SIGTERM, 15),
            (Signal::SIGINT, 2),
            (Signal::SIGHUP, 1),
        ] {
            let run = site
                .run(means, OnFailure::Closed)
                .args(["sh", "-c", "echo ready; exec sleep 1000"])
                .spawn();
            run.wait_line(|line| line == "ready");
            run.signal(signal);
            assert_eq!(run.wait(), Status::Killed(number), "{signal}");
            site.assert_untouched();
        }
    }
}

#[test]
fn an_idle_host_stops_by_each_signal_that_asks_for_it() {
    lab::require!(Namespaces);
    let site = Site::new("idleup");
    let all = [
        Means::RedirectNft,
        Means::RedirectIptables,
        Means::TproxyNft,
        Means::TproxyIptables,
        Means::Tun,
        Means::Tap,
    ];
    for means in all {
        for on_failure in [OnFailure::Open, OnFailure::Closed] {
            for signal in [Signal::SIGTERM, Signal::SIGINT] {
                let up = site
                    .up(&format!(
                        "{means}scope: {{ host: true }}\n\
                         on_failure: {on_failure}\n"
                    ))
                    .spawn();
                up.wait_line(|line| line.contains("in force"));
                assert!(site.state().changes_since(&site.before()).is_some());
                up.signal(signal);
                assert_eq!(up.wait(), Status::Exited(0), "{signal}");
                site.assert_untouched();
            }
        }
    }
}

#[test]
fn a_second_instance_of_the_same_name_is_refused() {
    lab::require!(Namespaces, Cgroup2);
    same_name(Means::RedirectNft);
}

#[test]
fn a_second_instance_of_the_same_name_is_refused_ebpf() {
    lab::require!(Root, Cgroup2);
    same_name(Means::Ebpf);
}

fn same_name(means: Means) {
    let site = Site::new("twice");
    let first = site
        .run(means, OnFailure::Closed)
        .args(["sh", "-c", "echo ready; exec cat"])
        .spawn();
    first.wait_line(|line| line == "ready");
    let held = site.state();
    let second = site
        .run(means, OnFailure::Closed)
        .args(["echo", "never"])
        .run();
    assert_eq!(second.status, Status::Exited(125), "{second:#?}");
    assert_eq!(second.stdout, "");
    for word in [&site.name, &first.pid().to_string(), "--name"] {
        assert!(second.stderr.contains(word), "{word}: {second:#?}");
    }
    site.state().assert_same_as(&held);
    assert!(first.is_running());
    first.close_input();
    assert_eq!(first.wait(), Status::Exited(0));
    site.assert_untouched();
}

#[test]
fn a_second_instance_with_an_overlapping_scope_is_refused() {
    lab::require!(Namespaces);
    overlapping(Means::RedirectNft);
}

#[test]
fn a_second_instance_with_an_overlapping_scope_is_refused_ebpf() {
    lab::require!(Root, Cgroup2);
    overlapping(Means::Ebpf);
}

fn overlapping(means: Means) {
    let site = Site::of_host(means, "overlap");
    let method = means.method();
    let first = site
        .up(&format!(
            "method: {method}\nscope: {{ uid: [1000-2000] }}\n"
        ))
        .spawn();
    first.wait_line(|line| line.contains("in force"));
    let held = site.state();
    let text = format!("name: othersteer\nmethod: {method}\nscope: {{ uid: [1500] }}\n");
    let config = site.write("other.yaml", &text);
    let second = site.steer().args(["up", "-c"]).arg(config).run();
    assert!(matches!(second.status, Status::Exited(1..)), "{second:#?}");
    for word in ["overlapping", "uid", &site.name, &first.pid().to_string()] {
        assert!(second.stderr.contains(word), "{word}: {second:#?}");
    }
    site.state().assert_same_as(&held);
    assert!(!site.run_dir().join("othersteer.json").exists());
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait(), Status::Exited(0));
    site.assert_untouched();
}

/// A command inside a steered command: the inner one's connections go through both engines.
#[test]
fn a_command_steers_a_command() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("nested");
    let server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let inner = site.path("inner.json");
    let steer = steer_tests::steer();
    let program = site
        .run(Means::RedirectNft, OnFailure::Closed)
        .arg(steer)
        .args(["run", "-m", "redirect", "--log"])
        .arg(&inner)
        .arg("--")
        .args(Agent::command_line("agent"));
    let agent = Agent::start(program);
    let mut client = agent.connect(at).expect("it is steered twice");
    assert!(echoes(&mut client, b"through two"));
    drop(client);
    assert_eq!(agent.finish(), Status::Exited(0));
    assert_eq!(server.wait_ended(1).len(), 1);
    let inner = fs::read_to_string(inner).expect("the inner one wrote records");
    assert!(inner.contains(&at.to_string()), "{inner}");
    site.assert_untouched();
}

#[test]
fn a_keeper_that_hangs_does_not_hold_up_the_end_and_undoes_its_work_later() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::apart("hung");
    let up = site.up("method: redirect\nscope: { host: true }\n").spawn();
    up.wait_line(|line| line.contains("in force"));
    let keeper = site.process("keeper");
    kill_with(keeper, Signal::SIGSTOP);
    up.signal(Signal::SIGTERM);
    let status = up.wait_within(Duration::from_secs(50));
    kill_with(keeper, Signal::SIGCONT);
    assert_eq!(status, Some(Status::Exited(1)), "{}", up.stderr());
    for word in ["the keeper process does not answer", "kill -CONT"] {
        assert!(up.stderr().contains(word), "{}", up.stderr());
    }
    site.wait_untouched();
}

#[test]
fn a_second_signal_ends_what_takes_too_long() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::apart("twice");
    let server = site.srv.serve(7, Service::Silent);
    let at = site.srv.at(Family::V4, 7);
    let up = site.up("method: redirect\nscope: { host: true }\n").spawn();
    up.wait_line(|line| line.contains("in force"));
    // A connection that would be waited for.
    let held = site.app.connect(at).expect("it is steered");
    server.wait_for(|seen| seen.len() == 1);
    up.signal(Signal::SIGTERM);
    up.wait_line(|line| line.contains("stops"));
    up.signal(Signal::SIGTERM);
    up.wait_line(|line| line.contains("ended at once"));
    assert_eq!(up.wait(), Status::Exited(1));
    drop(held);
    site.wait_untouched();
}
