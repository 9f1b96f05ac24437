//! What stands after an orderly end and after the death of the engine, the keeper, and both.

use std::path::Path;

use lab::{Service, Signal, Status, eventually};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use steer_core::intent::OnFailure;
use steer_core::journal::State;

use crate::stage::{Stage, job};

pub(crate) fn an_orderly_release_leaves_nothing() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    assert_eq!(stage.tables(), ["steer_main_guard", "steer_main"]);
    let keeper = stage.keeper_of("main");
    engine.write(b"retire\nrelease\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
    stage.wait_clean(keeper);
}

pub(crate) fn a_job_takes_the_place_of_another_and_is_what_a_successor_adopts() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    engine.write(b"swap\n");
    engine.wait_line(|line| line == "done");
    assert_eq!(stage.tables(), ["steer_main"]);
    assert_eq!(stage.journal("main").unwrap().job.objects.len(), 1);
    kill(stage.keeper_of("main"), Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    engine.write(b"restore\nrelease\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
    stage.wait_tables(&[]);
}

pub(crate) fn open_leaves_nothing_when_the_engine_is_killed() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Open));
    let keeper = stage.keeper_of("main");
    engine.kill();
    stage.wait_clean(keeper);
}

pub(crate) fn closed_leaves_the_guard_when_the_engine_is_killed_and_the_next_start_adopts_it() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    let keeper = stage.keeper_of("main");
    engine.kill();
    stage.wait_state("main", State::Crashed);
    stage.wait_tables(&["steer_main_guard"]);
    eventually("the keeper is gone", || {
        (!Path::new(&format!("/proc/{keeper}/stat")).exists()).then_some(())
    });
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    let mut tables = stage.tables();
    tables.sort();
    assert_eq!(tables, ["steer_main", "steer_main_guard"]);
    let keeper = stage.keeper_of("main");
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    engine.wait();
    stage.wait_clean(keeper);
}

pub(crate) fn a_killed_keeper_changes_nothing_and_is_replaced() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Open));
    let before = stage.rules();
    let first = stage.keeper_of("main");
    kill(first, Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    assert_eq!(stage.rules(), before);
    engine.write(b"restore\n");
    engine.wait_line(|line| line == "done");
    let second = stage.keeper_of("main");
    assert_ne!(first, second);
    assert_eq!(stage.rules(), before);
    // The successor does a keeper's work.
    engine.kill();
    stage.wait_clean(second);
}

pub(crate) fn a_successor_that_a_commit_has_called_stays_and_the_engine_accepts() {
    let stage = Stage::new();
    let _server = stage.srv.serve(80, Service::Echo);
    let engine = stage.engaged(&job("main", OnFailure::Open));
    let first = stage.keeper_of("main");
    kill(first, Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    engine.write(b"commit and restore\n");
    engine.wait_line(|line| line == "done");
    let second = stage.keeper_of("main");
    assert_ne!(first, second);
    engine.write(b"restore\n");
    engine.wait_stdout(|text| text.matches("done").count() == 2);
    assert_eq!(stage.keeper_of("main"), second);
    let client = stage.client();
    engine.wait_line(|line| line == "accepted");
    client.wait_line(|line| line == "connected");
    engine.kill();
    stage.wait_clean(second);
}

pub(crate) fn a_keeper_that_loses_a_living_engine_s_socket_leaves_its_listeners_alone() {
    let stage = Stage::new();
    let _server = stage.srv.serve(80, Service::Echo);
    let engine = stage.engaged(&job("main", OnFailure::Open));
    let keeper = stage.keeper_of("main");
    engine.write(b"drop\n");
    engine.wait_line(|line| line == "done");
    stage.wait_clean(keeper);
    // Directly: nothing is steered any more.
    let to = (std::net::Ipv4Addr::LOCALHOST, crate::PORT).into();
    let _client = stage.app.connect(to).unwrap();
    engine.wait_line(|line| line == "accepted");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
}

pub(crate) fn a_release_after_the_keeper_s_death_still_undoes_everything() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    let keeper = stage.keeper_of("main");
    kill(keeper, Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
    stage.wait_clean(keeper);
}

pub(crate) fn both_killed_leaves_no_steering_and_clean_removes_the_guard() {
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let stage = Stage::new();
        let engine = stage.engaged(&job("main", on_failure));
        let keeper = stage.keeper_of("main");
        // Stopped first, so that it cannot do its work in between.
        kill(keeper, Signal::SIGSTOP).unwrap();
        kill(Pid::from_raw(engine.pid()), Signal::SIGKILL).unwrap();
        kill(keeper, Signal::SIGKILL).unwrap();
        engine.wait();
        stage.wait_tables(&["steer_main_guard"]);
        let output = stage.role("clean").run();
        assert_eq!(output.status, Status::Exited(0), "{output:?}");
        assert!(output.stdout.contains("steer_main_guard"), "{output:?}");
        assert!(
            output.stdout.contains("removed the journal of main"),
            "{output:?}"
        );
        stage.wait_clean(keeper);
        let output = stage.role("clean").run();
        assert_eq!(output.stdout, "nothing of steer is left here\n");
    }
}

pub(crate) fn both_killed_resets_the_clients_before_the_rules_go() {
    for _ in 0..5 {
        let stage = Stage::new();
        let _server = stage.srv.serve(80, Service::Echo);
        let engine = stage.engaged(&job("main", OnFailure::Open));
        let keeper = stage.keeper_of("main");
        let client = stage.client();
        engine.wait_line(|line| line == "accepted");
        client.wait_line(|line| line == "connected");
        kill(keeper, Signal::SIGKILL).unwrap();
        kill(Pid::from_raw(engine.pid()), Signal::SIGKILL).unwrap();
        client.wait_line(|line| line == "ConnectionResetError");
    }
}

pub(crate) fn the_engine_killed_resets_the_clients_before_the_rules_go() {
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let stage = Stage::new();
        let _server = stage.srv.serve(80, Service::Echo);
        let engine = stage.engaged(&job("main", on_failure));
        let client = stage.client();
        engine.wait_line(|line| line == "accepted");
        client.wait_line(|line| line == "connected");
        engine.kill();
        client.wait_line(|line| line == "ConnectionResetError");
    }
}
