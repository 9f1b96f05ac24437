//! Processes that outlive the command of `run`.

use lab::{Agent, End, Family, Program, Service, Signal, Status};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, left_by};

/// A command that ends at once and leaves a client behind, in a session of its own.
fn daemon(program: Program) -> Agent {
    let daemonise = "setsid \"$@\" </dev/null >/dev/null 2>&1 &";
    Agent::start(
        program
            .args(["sh", "-c", daemonise, "sh"])
            .args(Agent::command_line("agent")),
    )
}

fn left_behind(means: Means, on_failure: OnFailure) {
    lab::require!(Namespaces, Cgroup2, Program("setsid"), Program("iptables"));
    let site = Site::new("leftover");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let witness = site.witness();
    let agent = daemon(site.run(means, on_failure));
    assert_eq!(agent.proc().wait(), Status::Exited(0));
    let said = agent.proc().stderr();
    assert!(said.contains(&agent.pid().to_string()), "{said}");
    match on_failure {
        OnFailure::Open => {
            assert!(said.contains("go direct"), "{said}");
            site.assert_untouched();
            let mut client = agent.connect(at).expect("it goes direct");
            assert!(echoes(&mut client, b"directly"));
            assert!(left_by(&witness, &[client.local()]) > 0);
        }
        OnFailure::Closed => {
            assert!(said.contains("refused"), "{said}");
            assert_refused(agent.connect(at));
            assert_eq!(witness.packets(|p| p.is_tcp()).len(), 0);
            let mut neighbour = site.app.connect(at).expect("a neighbour is not meant");
            assert!(echoes(&mut neighbour, b"in clear"));
            assert!(left_by(&witness, &[neighbour.local()]) > 0);
            assert!(site.state().changes_since(&site.before()).is_some());
        }
    }
    agent.finish();
    site.wait_untouched();
}

#[test]
fn a_daemon_left_behind_is_refused_until_it_ends_nft() {
    left_behind(Means::RedirectNft, OnFailure::Closed);
}

#[test]
fn a_daemon_left_behind_is_refused_until_it_ends_iptables() {
    left_behind(Means::RedirectIptables, OnFailure::Closed);
}

#[test]
fn a_daemon_left_behind_is_refused_until_it_ends_tproxy() {
    left_behind(Means::TproxyNft, OnFailure::Closed);
}

#[test]
fn a_daemon_left_behind_is_refused_until_it_ends_tun() {
    left_behind(Means::Tun, OnFailure::Closed);
}

#[test]
fn a_daemon_left_behind_goes_direct_under_open_tun() {
    left_behind(Means::Tun, OnFailure::Open);
}

#[test]
fn a_daemon_left_behind_goes_direct_under_open_nft() {
    left_behind(Means::RedirectNft, OnFailure::Open);
}

#[test]
fn a_daemon_left_behind_goes_direct_under_open_iptables() {
    left_behind(Means::RedirectIptables, OnFailure::Open);
}

#[test]
fn a_daemon_left_behind_is_refused_until_it_ends_ebpf() {
    left_behind(Means::Ebpf, OnFailure::Closed);
}

#[test]
fn a_daemon_left_behind_goes_direct_under_open_ebpf() {
    left_behind(Means::Ebpf, OnFailure::Open);
}

/// A steered command that serves: what refuses its own connections lets others' to it pass.
#[test]
fn a_steered_server_answers_those_who_connect_to_it() {
    lab::require!(Namespaces, Cgroup2, Program("ncat"));
    for means in [Means::RedirectNft, Means::RedirectIptables] {
        let site = Site::new("serving");
        let ncat = ["ncat", "-v", "-l", "-k", "4711", "-e", "/bin/cat"];
        let run = site.run(means, OnFailure::Closed).args(ncat).spawn();
        run.wait_line(|line| line.contains("Listening on 0.0.0.0"));
        for family in Family::BOTH {
            let mut client = site
                .srv
                .connect(site.app.at(family, 4711))
                .expect("it listens");
            assert!(echoes(&mut client, b"from outside"));
            client.finish();
            assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
        }
        run.signal(Signal::SIGTERM);
        assert_eq!(run.wait(), Status::Killed(15));
        site.wait_untouched();
    }
}

/// While the command runs, what it has daemonised is steered like itself.
#[test]
fn a_daemon_is_steered_while_the_command_runs() {
    lab::require!(Namespaces, Cgroup2, Program("setsid"));
    let site = Site::new("daemon");
    let server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let witness = site.witness();
    let script = "setsid \"$@\" </dev/null >/dev/null 2>&1 & exec cat";
    let agent = Agent::start(
        site.run(Means::RedirectNft, OnFailure::Closed)
            .args(["sh", "-c", script, "sh"])
            .args(Agent::command_line("agent")),
    );
    let mut client = agent.connect(at).expect("it is steered");
    assert!(echoes(&mut client, b"steered"));
    assert_eq!(left_by(&witness, &[client.local()]), 0);
    assert_eq!(server.seen().len(), 1);
    drop(client);
    agent.finish();
    site.wait_untouched();
}
