//! What the iptables driver does where its programs are missing or fail.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use lab::{Host, Lab, Snapshot, require};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::object::{IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::PortRef;
use steer_kernel::iptables::IptablesDriver;

#[test]
fn a_failure_of_the_second_family_takes_the_first_one_back() {
    if std::env::var_os(AGAIN).is_some() {
        return with_other_programs();
    }
    require!(Root, Program("iptables-nft"));
    let app = Lab::new("iptprog").host("app");
    let before = Snapshot::take(&app).of_host_only();
    let text = run_with_programs(
        &app,
        "a_failure_of_the_second_family_takes_the_first_one_back",
        &["iptables-nft", "iptables-nft-restore", "ip6tables-nft"],
    );
    assert!(
        text.contains("ip6tables-nft-restore refused: no more room"),
        "{text}"
    );
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn without_the_program_the_error_says_how_to_get_it() {
    if std::env::var_os(AGAIN).is_some() {
        return with_other_programs();
    }
    require!(Root, Program("iptables-nft"));
    let app = Lab::new("iptprog").host("app");
    let before = Snapshot::take(&app).of_host_only();
    let text = run_with_programs(
        &app,
        "without_the_program_the_error_says_how_to_get_it",
        &[],
    );
    assert!(
        text.contains("iptables-nft-restore cannot be run"),
        "{text}"
    );
    assert!(text.contains("apt-get install iptables"), "{text}");
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

/// Runs the test itself again: the error of a redirect where `PATH` has these programs, and a restorer for IPv6 that accepts
/// every check and applies nothing, unless there are no programs at all.
fn run_with_programs(host: &Host, test: &str, programs: &[&str]) -> String {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    for program in programs {
        let which = std::process::Command::new("which")
            .arg(program)
            .output()
            .unwrap();
        let real = String::from_utf8(which.stdout).unwrap();
        symlink(real.trim(), folder.path().join(program)).unwrap();
    }
    if !programs.is_empty() {
        let fails = folder.path().join("ip6tables-nft-restore");
        let script =
            "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\necho 'no more room' >&2\nexit 1\n";
        std::fs::write(&fails, script).unwrap();
        std::fs::set_permissions(&fails, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = host
        .program(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(AGAIN, "1")
        .env("PATH", folder.path())
        .run();
    output.expect_success()
}

/// What a process is told that has another `PATH`.
fn with_other_programs() {
    let error = IptablesDriver::new().set(&Change {
        instance: &Instance::new("main").unwrap(),
        netns: &Netns::Here,
        from: &[],
        to: &[Object::Iptables(redirect(), IptablesVariant::Nft)],
    });
    let error = error.unwrap_err();
    let cause = std::error::Error::source(&error).expect("a program's failure has a cause");
    println!("{error}: {cause}\nhelp: {}", error.help());
}

fn redirect() -> Ruleset {
    let rule = Rule::new(
        [Test::Protocol(Protocol::Tcp)],
        Verdict::Redirect(PortRef::Fixed(15001)),
        "a test steers",
    );
    Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![Chain {
            name: "out".to_owned(),
            base: Some(Base {
                kind: ChainKind::Nat,
                hook: Hook::Output,
                priority: -101,
            }),
            rules: vec![rule],
        }],
    }
}

const AGAIN: &str = "STEER_TEST_AGAIN";
