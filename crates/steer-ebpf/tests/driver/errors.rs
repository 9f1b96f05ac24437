//! What cannot be done is said, and leaves nothing.

use std::error::Error;
use std::process::Command;

use lab::require;
use steer_core::address::IdRange;
use steer_core::driver::DriverError;
use steer_core::intent::OnFailure;
use steer_ebpf::driver::EbpfDriver;

use crate::stage::{Held, Stage, objects};

/// Set for the process that runs this again without capabilities.
const BARE: &str = "STEER_TEST_BARE";

fn told(error: &DriverError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}\n{error}");
        source = error.source();
    }
    text
}

#[test]
fn a_cgroup_that_is_not_there_is_named_and_nothing_is_attached() {
    require!(Root);
    let stage = Stage::new("missing");
    let mut hooks = stage.hooks(OnFailure::Closed);
    hooks.cgroups.push(steer_core::symbol::CgroupRef::Path(
        "none/such.service".to_owned(),
    ));
    let mut driver = EbpfDriver::new();
    let error = stage.set(&mut driver, &[], &objects(hooks)).unwrap_err();
    assert!(told(&error).contains("none/such.service"), "{error:?}");
    assert!(error.help().contains("systemd-cgls"), "{}", error.help());
    drop(driver);
    lab::eventually("nothing is loaded", || {
        (stage.held() == Held::default()).then_some(())
    });
}

#[test]
fn a_change_that_cannot_be_made_leaves_what_stood() {
    require!(Root);
    let stage = Stage::new("unchanged");
    let mut driver = EbpfDriver::new();
    let hooks = stage.hooks(OnFailure::Closed);
    let from = objects(hooks.clone());
    stage.set(&mut driver, &[], &from).unwrap();
    let held = stage.held();
    let mut wrong = hooks.clone();
    wrong.scope.of.uid = (0..17)
        .map(|n| IdRange::new(2 * n, 2 * n).unwrap())
        .collect();
    let error = stage.set(&mut driver, &from, &objects(wrong)).unwrap_err();
    assert!(told(&error).contains("scope.uid"), "{error:?}");
    let mut wrong = hooks;
    wrong.cgroups.insert(
        0,
        steer_core::symbol::CgroupRef::Path("none/such".to_owned()),
    );
    stage.set(&mut driver, &from, &objects(wrong)).unwrap_err();
    assert_eq!((stage.held(), stage.found().len()), (held, 1));
    stage.set(&mut driver, &from, &[]).unwrap();
}

#[test]
fn a_program_that_the_verifier_refuses_shows_its_log() {
    require!(Root);
    let stage = Stage::new("refused");
    let object = include_bytes!("../../object/steer.o");
    let mut object = object.to_vec();
    // No program returns any more: each `exit` clears a register instead.
    for instruction in object.chunks_exact_mut(8) {
        if instruction == [0x95, 0, 0, 0, 0, 0, 0, 0] {
            instruction[0] = 0xb7;
        }
    }
    let mut driver = EbpfDriver::of_object(object.leak());
    let to = objects(stage.hooks(OnFailure::Open));
    let error = stage.set(&mut driver, &[], &to).unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("refuses the program release_socket"),
        "{text}"
    );
    let log: Vec<&str> = text.lines().filter(|l| l.starts_with("  ")).collect();
    assert!((1..=12).contains(&log.len()), "{text}");
    // Which of its words comes first depends on where the program goes wrong.
    let is_reason = |line: &&str| {
        ["invalid", "infinite loop", "not an exit"]
            .iter()
            .any(|reason| line.contains(reason))
    };
    assert!(log.iter().any(is_reason), "{text}");
    assert!(!text.contains("processed "), "{text}");
    assert!(error.help().contains("uname -r"), "{}", error.help());
}

#[test]
fn without_capabilities_the_error_says_which_are_missing() {
    if std::env::var_os(BARE).is_none() {
        require!(Root);
        let name = "errors::without_capabilities_the_error_says_which_are_missing";
        // Without the second alone programs are loaded, but not these.
        again_without("-all", name);
        return again_without("-perfmon,-sys_admin", name);
    }
    let error = load("bare").unwrap_err();
    assert!(told(&error).contains("not allowed"), "{}", told(&error));
    assert!(
        error.help().contains("CAP_BPF, CAP_PERFMON"),
        "{}",
        error.help()
    );
}

/// Runs a test again, with fewer capabilities.
fn again_without(capabilities: &str, test: &str) {
    let output = Command::new("setpriv")
        .args([&format!("--bounding-set={capabilities}"), "--inh-caps=-all"])
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(BARE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Loads everything, and attaches nothing.
fn load(instance: &str) -> Result<(), DriverError> {
    let change = steer_core::driver::Change {
        instance: &steer_core::instance::Instance::new(instance).unwrap(),
        netns: &steer_core::plan::Netns::Here,
        from: &[],
        to: &objects(hooks_at_nothing()),
    };
    steer_core::driver::Driver::set(&mut EbpfDriver::new(), &change)
}

fn hooks_at_nothing() -> steer_core::object::Hooks {
    steer_core::object::Hooks {
        cgroups: Vec::new(),
        scope: steer_core::intent::Scope::default(),
        within: Vec::new(),
        traffic: steer_core::intent::Traffic::default(),
        names: steer_core::symbol::Followed::new(),
        made_up: Vec::new(),
        reach: steer_core::object::Reach::Here,
        families: Vec::new(),
        entrances: Vec::new(),
        bypass: steer_core::mark::Mark::BYPASS,
        on_failure: OnFailure::Open,
        takes: true,
    }
}
