//! What becomes of processes that outlive the command of a `run`.

use lab::Cgroup;
use steer_core::intent::OnFailure;
use steer_core::journal::State;

use crate::stage::{Stage, command_job, leftover};

pub(crate) fn closed_refuses_what_the_command_left_until_it_is_gone() {
    let (stage, parent) = (Stage::new(), Cgroup::new("left"));
    let engine = stage.engaged(&command_job("main", OnFailure::Closed, &parent));
    let left = leftover(&parent, "main");
    let keeper = stage.keeper_of("main");
    engine.write(b"release\n");
    let line = engine.wait_line(|line| line.starts_with("released"));
    assert!(
        line.contains(&format!("processes: [{}]", left.pid())),
        "{line}"
    );
    engine.close_input();
    engine.wait();
    stage.wait_state("main", State::Lingering);
    stage.wait_tables(&["steer_main_guard"]);
    // Whoever asks is told who is in the way.
    let said = stage.role("clean").run().expect_success();
    assert!(
        said.contains(&format!("keeper {keeper}, which waits")),
        "{said}"
    );
    assert_eq!(stage.tables(), ["steer_main_guard"]);
    left.kill();
    stage.wait_clean(keeper);
    assert!(!parent.path().join("steer-main").exists());
}

pub(crate) fn closed_guards_the_command_of_a_killed_engine_until_it_is_gone() {
    let (stage, parent) = (Stage::new(), Cgroup::new("crash"));
    let engine = stage.engaged(&command_job("main", OnFailure::Closed, &parent));
    let left = leftover(&parent, "main");
    let keeper = stage.keeper_of("main");
    engine.kill();
    stage.wait_state("main", State::Crashed);
    stage.wait_tables(&["steer_main_guard"]);
    left.kill();
    stage.wait_clean(keeper);
    assert!(!parent.path().join("steer-main").exists());
}

pub(crate) fn open_moves_what_the_command_left_to_the_parent_cgroup() {
    for killed in [false, true] {
        let (stage, parent) = (Stage::new(), Cgroup::new("open"));
        let engine = stage.engaged(&command_job("main", OnFailure::Open, &parent));
        let left = leftover(&parent, "main");
        let keeper = stage.keeper_of("main");
        if killed {
            engine.kill();
        } else {
            engine.write(b"release\n");
            engine.wait_line(|line| line.starts_with("released Lingers"));
            engine.close_input();
            engine.wait();
        }
        stage.wait_clean(keeper);
        assert!(!parent.path().join("steer-main").exists());
        let of = std::fs::read_to_string(format!("/proc/{}/cgroup", left.pid())).unwrap();
        assert!(
            of.lines()
                .any(|line| line == format!("0::/{}", parent.name())),
            "{of}"
        );
        assert!(left.is_running());
    }
}
