//! `steer clean`: removes what a crash left, and nothing else.

use std::fs;

use lab::{Family, Service, Signal, Snapshot, Status, eventually};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, kill, left_by};

/// Things of others whose names look like ours.
const LOOKALIKES: &str = "\
    add table inet steer_other { chain c { type filter hook output priority 5; counter; }; }\n\
    add table inet steerage { chain c { counter; }; }\n\
    add table ip steer_elsewhere { chain c { counter; }; }\n";

/// The same in iptables, with a jump to one of them.
const LOOKALIKE_CHAINS: &str = "\
    *filter\n:STEERAGE - [0:0]\n:STEER - [0:0]\n:STEER_main_lower - [0:0]\n\
    -A OUTPUT -j STEERAGE\nCOMMIT\n";

fn host_config(means: Means) -> String {
    format!("{means}scope: {{ host: true }}\non_failure: closed\n")
}

fn add_lookalikes(site: &Site) -> Snapshot {
    let nft = site.app.program("nft").args(["-f", "-"]).input(LOOKALIKES);
    nft.run().expect_success();
    for restore in ["iptables-restore", "ip6tables-restore"] {
        let program = site.app.program(restore).arg("--noflush");
        program.input(LOOKALIKE_CHAINS).run().expect_success();
    }
    site.state()
}

/// Without config and without journal, everything of ours goes and everything of others stays.
fn cleaned(means: Means) {
    lab::require!(
        Namespaces,
        Cgroup2,
        Program("nft"),
        Program("iptables-restore")
    );
    let site = Site::apart("clean");
    let foreign = add_lookalikes(&site);
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let up = site.up(&host_config(means)).spawn();
    up.wait_line(|line| line.contains("in force"));
    let keeper = site.process("keeper");
    up.kill();
    eventually("the keeper has done its work", || {
        (!std::path::Path::new(&format!("/proc/{keeper}")).exists()).then_some(())
    });
    assert_refused(site.app.connect(at));
    fs::remove_dir_all(site.run_dir()).expect("the journal is there");

    let clean = site.steer().arg("clean").run();
    let said = clean.expect_success();
    let what = match means.rules_have_an_owner() {
        true => format!("removed nft table inet steer_{}_guard", site.name),
        false => format!("chains STEER_{}_*", site.name),
    };
    assert!(said.contains(&what), "{said}");
    assert!(
        !said.contains("other") && !said.contains("STEERAGE"),
        "{said}"
    );
    site.state().assert_same_as(&foreign);
    assert!(!site.run_dir().exists());

    let witness = site.witness();
    let mut direct = site.app.connect(at).expect("direct connections work");
    assert!(echoes(&mut direct, b"directly"));
    assert!(left_by(&witness, &[direct.local()]) > 0);
    let again = site.steer().arg("clean").run().expect_success();
    assert_eq!(again, "nothing of steer is left here\n");
    site.state().assert_same_as(&foreign);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_nft() {
    cleaned(Means::RedirectNft);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_iptables() {
    cleaned(Means::RedirectIptables);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_legacy() {
    cleaned(Means::RedirectLegacy);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_tproxy_nft() {
    cleaned(Means::TproxyNft);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_tproxy_iptables() {
    cleaned(Means::TproxyIptables);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_tun() {
    cleaned(Means::Tun);
}

#[test]
fn a_closed_crash_is_cleaned_without_config_and_journal_tap() {
    cleaned(Means::Tap);
}

/// What lives is left alone and named; `--force` ends it first, in order.
fn living(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let site = Site::apart("living");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let up = site.up(&host_config(means)).spawn();
    up.wait_line(|line| line.contains("in force"));
    let witness = site.witness();
    let mut client = site.app.connect(at).expect("it is steered");
    assert!(echoes(&mut client, b"before"));
    let held = site.state();

    let said = site.steer().arg("clean").run().expect_success();
    for word in ["left alone", &site.name, &up.pid().to_string()] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("removed"), "{said}");
    site.state().assert_same_as(&held);
    assert!(echoes(&mut client, b"after"));
    assert_eq!(left_by(&witness, &[client.local()]), 0);
    drop(client);

    let said = site
        .steer()
        .args(["clean", "--force"])
        .run()
        .expect_success();
    assert!(said.contains(&format!("ended {}", site.name)), "{said}");
    assert_eq!(up.wait(), Status::Exited(0));
    site.assert_untouched();
}

#[test]
fn what_lives_is_left_alone_unless_forced_nft() {
    living(Means::RedirectNft);
}

#[test]
fn what_lives_is_left_alone_unless_forced_iptables() {
    living(Means::RedirectIptables);
}

#[test]
fn what_lives_is_left_alone_unless_forced_tproxy() {
    living(Means::TproxyNft);
}

#[test]
fn what_lives_is_left_alone_unless_forced_tun() {
    living(Means::Tun);
}

/// An engine that does not answer signals cannot keep `clean --force` from its work.
#[test]
fn a_stopped_engine_is_ended_by_force() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::apart("stuck");
    let up = site.up(&host_config(Means::RedirectNft)).spawn();
    up.wait_line(|line| line.contains("in force"));
    up.signal(Signal::SIGSTOP);
    let clean = site.steer().args(["clean", "--force"]);
    let said = clean.deadline(3 * lab::DEADLINE).run().expect_success();
    assert!(said.contains("ended"), "{said}");
    assert_eq!(up.wait(), Status::Killed(9));
    site.wait_untouched();
}

/// Both died, and a journal that nobody can read lies beside the rules.
#[test]
fn an_instance_with_another_run_directory_is_left_alone() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::apart("elsewhere");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    // A command's cgroup and the guard are what the kernel does not protect by their owner.
    let agent = site.agent(Means::RedirectNft, OnFailure::Closed);
    let elsewhere = site.path("elsewhere");
    for reach in [None, Some("--force")] {
        let clean = site.steer().arg("clean").args(reach);
        let said = clean.env("STEER_RUN_DIR", &elsewhere).run();
        let said = said.expect_success();
        let left = format!("left alone {}, in force by", site.name);
        assert!(said.contains(&left) && !said.contains("removed"), "{said}");
    }
    let mut client = agent.connect(at).expect("it steers on");
    assert!(echoes(&mut client, b"still steered"));
    site.records();
    drop(client);
    agent.finish();
    site.wait_untouched();
}

#[test]
fn a_journal_that_cannot_be_read_does_not_stop_the_cleaning() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::apart("torn");
    let up = site.up(&host_config(Means::RedirectNft)).spawn();
    up.wait_line(|line| line.contains("in force"));
    kill(&[site.process("keeper"), up.pid()]);
    up.wait();
    let journal = site.run_dir().join(format!("{}.json", site.name));
    fs::write(journal, "{\"job\": ").expect("the journal is there");
    let said = site.steer().arg("clean").run().expect_success();
    assert!(said.contains(&site.name), "{said}");
    site.assert_untouched();
}

/// Whoever may not change the network is told so, and is told nothing else.
#[test]
fn cleaning_without_privilege_says_what_is_missing() {
    lab::require!(Namespaces);
    let site = Site::new("nobody");
    let output = site
        .unprivileged()
        .arg("clean")
        .env("STEER_RUN_DIR", site.path("nowhere"))
        .run();
    assert!(matches!(output.status, Status::Exited(1..)), "{output:#?}");
    let said = output.stdout + &output.stderr;
    assert!(
        said.contains("root") || said.contains("CAP_NET_ADMIN"),
        "{said}"
    );
    site.assert_untouched();
}
