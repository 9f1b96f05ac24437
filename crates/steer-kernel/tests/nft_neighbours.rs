//! What a look at a host tells of transparent steering and of neighbours in the packet filters.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/tproxy.rs"]
mod tproxy;

use std::os::unix::fs::PermissionsExt;

use lab::{Host, Lab, require};
use steer_core::host::{MarkBits, MarkUse, Neighbour, Presence};
use steer_core::intent::OnFailure;
use steer_core::object::IptablesVariant;
use steer_core::ruleset::{ChainKind, Hook};
use tproxy::{Filter, Steering, rules};

fn seen(host: &Host) -> Vec<Neighbour> {
    host.enter(|| steer_kernel::host::observe().neighbours)
}

fn mark(usage: MarkUse, value: u32, mask: u32, by: &str) -> Neighbour {
    Neighbour::Mark {
        usage,
        mark: MarkBits { value, mask },
        by: by.to_owned(),
    }
}

fn chain(kind: ChainKind, hook: Hook, priority: i32, by: &str) -> Neighbour {
    Neighbour::Chain {
        kind,
        hook,
        priority,
        by: by.to_owned(),
    }
}

/// That what we see has these, and no other of the packet filters.
fn assert_seen(host: &Host, mut expected: Vec<Neighbour>) {
    let mut seen = seen(host);
    seen.retain(|one| !matches!(one, Neighbour::Rule { .. }));
    seen.retain(|one| match one {
        // Those of policy rules are not looked at here.
        Neighbour::Mark { by, .. } => !by.starts_with("ip "),
        Neighbour::Rule { .. } | Neighbour::Chain { .. } => true,
    });
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn chains_and_marks_of_neighbours_in_nf_tables_are_named() {
    require!(Root, Program("nft"));
    let host = Lab::new("neigh").host("app");
    let before = lab::Snapshot::take(&host).of_host_only();
    assert_seen(&host, vec![]);
    lab::Snapshot::take(&host)
        .of_host_only()
        .assert_same_as(&before);
    let theirs = "
        add table inet foo
        add chain inet foo bar { type filter hook prerouting priority -155; }
        add rule inet foo bar meta mark & 0xff0000 == 0x40000 accept
        add rule inet foo bar meta mark set 0x1
        add rule inet foo bar meta mark set meta mark or 0x40
        add rule inet foo bar ct mark set meta mark
        add rule inet foo bar tcp dport 80 ct mark set ct mark and 0xffffff00 or 0x12
        add table ip6 six
        add chain ip6 six out { type route hook output priority -150; }
        add chain ip6 six plain
        add rule ip6 six plain ct mark 0x9 drop
        add table arp other
        add chain arp other in { type filter hook input priority 0; }
    ";
    host.program("nft").arg(theirs).run().expect_success();
    let bar = "nft table inet foo, chain bar";
    let (out, plain) = (
        "nft table ip6 six, chain out",
        "nft table ip6 six, chain plain",
    );
    assert_seen(
        &host,
        vec![
            mark(MarkUse::Tested, 0x0004_0000, 0x00ff_0000, bar),
            mark(MarkUse::Set, 1, u32::MAX, bar),
            mark(MarkUse::Set, 0x40, 0x40, bar),
            mark(MarkUse::Set, 0, u32::MAX, bar),
            mark(MarkUse::Set, 0x12, 0xff, bar),
            mark(MarkUse::Tested, 9, u32::MAX, plain),
            chain(ChainKind::Filter, Hook::Prerouting, -155, bar),
            chain(ChainKind::Route, Hook::Output, -150, out),
        ],
    );
}

#[test]
fn chains_and_marks_of_neighbours_in_iptables_are_named() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for (program, table) in [
        ("iptables-nft", "nft table ip mangle"),
        ("ip6tables-nft", "nft table ip6 mangle"),
        ("iptables-legacy", "iptables-legacy table mangle"),
        ("ip6tables-legacy", "ip6tables-legacy table mangle"),
    ] {
        let host = Lab::new("neigh").host("app");
        for rule in [
            "PREROUTING -m mark --mark 0x40000/0xff0000 -j ACCEPT",
            "PREROUTING -p tcp -j TPROXY --on-port 9 --tproxy-mark 0x1/0x3",
            "OUTPUT -m connmark --mark 0x5 -j MARK --set-mark 0x6",
            "OUTPUT -j CONNMARK --restore-mark",
        ] {
            let rule = ["-t", "mangle", "-A"].into_iter().chain(rule.split(' '));
            host.program(program).args(rule).run().expect_success();
        }
        let (arrive, output) = (
            format!("{table}, chain PREROUTING"),
            format!("{table}, chain OUTPUT"),
        );
        // The kernel's chain of arriving packets routes nothing again.
        let kind = match table.starts_with("nft") {
            true => ChainKind::Filter,
            false => ChainKind::Route,
        };
        assert_seen(
            &host,
            vec![
                mark(MarkUse::Tested, 0x0004_0000, 0x00ff_0000, &arrive),
                mark(MarkUse::Set, 1, 3, &arrive),
                mark(MarkUse::Tested, 5, u32::MAX, &output),
                mark(MarkUse::Set, 6, u32::MAX, &output),
                mark(MarkUse::Set, 0, u32::MAX, &output),
                chain(kind, Hook::Prerouting, -150, &arrive),
                chain(ChainKind::Route, Hook::Output, -150, &output),
            ],
        );
    }
}

#[test]
fn what_is_ours_is_no_neighbour() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for filter in [
        Filter::Nft,
        Filter::Iptables(IptablesVariant::Nft),
        Filter::Iptables(IptablesVariant::Legacy),
    ] {
        let host = Lab::new("neigh").host("app");
        let mut steering = Steering::on(&host, filter);
        steering.set(&[rules::local(OnFailure::Closed)]).unwrap();
        assert_seen(&host, vec![]);
    }
}

#[test]
fn transparent_steering_is_found_out_without_a_change() {
    require!(Root, Program("nft"));
    let host = Lab::new("neigh").host("app");
    let before = lab::Snapshot::take(&host).of_host_only();
    let found = host.enter(|| steer_kernel::host::observe().tproxy);
    assert_eq!(found.nft, Presence::Present);
    assert_eq!(found.iptables, Presence::Present);
    lab::Snapshot::take(&host)
        .of_host_only()
        .assert_same_as(&before);
}

#[test]
fn without_the_privilege_nothing_is_said_to_be_missing() {
    // The test runs itself again as another user.
    if std::env::var_os(AGAIN).is_some() {
        let host = steer_kernel::host::observe();
        for presence in [host.tproxy.nft, host.tproxy.iptables] {
            assert!(!matches!(presence, Presence::Absent(_)), "{presence:?}");
        }
        assert_eq!(host.neighbours, []);
        return;
    }
    require!(Root, Program("nft"));
    let host = Lab::new("neigh").host("app");
    // Another user may not be able to reach the folder that this test was built in.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("test");
    // By another process: a descriptor for writing, inherited by a fork of another test, would
    // make it "text file busy".
    let cp = std::process::Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(cp.unwrap().success());
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let name = "without_the_privilege_nothing_is_said_to_be_missing";
    let again = host
        .program(&copy)
        .args(["--exact", name])
        .env(AGAIN, "1")
        .current_dir("/")
        .user(65_534)
        .run();
    let text = again.expect_success();
    assert!(text.contains("1 passed"), "{text}");
}

const AGAIN: &str = "STEER_TEST_AGAIN";
