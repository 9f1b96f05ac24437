//! Who has the engine's port between its death and the end of the steering.

use lab::{Service, Signal, Status};
use nix::sys::signal::kill;
use steer_core::intent::OnFailure;

use crate::PORT;
use crate::stage::{Stage, job};

pub(crate) fn nobody_else_gets_the_port_of_a_dead_engine_while_rules_steer_there() {
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let stage = Stage::new();
        let _server = stage.srv.serve(80, Service::Echo);
        let engine = stage.engaged(&job("main", on_failure));
        let keeper = stage.keeper_of("main");
        // Stopped, so that the time between the two lasts as long as the test wants.
        kill(keeper, Signal::SIGSTOP).unwrap();
        engine.kill();
        let before = stage.tables();
        assert_eq!(captures(&stage), Status::Exited(1));
        let client = stage.client();
        client.wait_line(|line| line == "connected");
        assert_eq!(stage.tables(), before);
        kill(keeper, Signal::SIGCONT).unwrap();
        client.wait_line(|line| line == "ConnectionResetError");
        match on_failure {
            OnFailure::Open => stage.wait_clean(keeper),
            OnFailure::Closed => {
                stage.wait_tables(&["steer_main_guard"]);
                stage.role("clean").run().expect_success();
            }
        }
        assert_eq!(captures(&stage), Status::Exited(0));
    }
}

pub(crate) fn a_successor_of_the_keeper_holds_the_port_too() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Open));
    kill(stage.keeper_of("main"), Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    engine.write(b"restore\n");
    engine.wait_line(|line| line == "done");
    let keeper = stage.keeper_of("main");
    kill(keeper, Signal::SIGSTOP).unwrap();
    engine.kill();
    assert_eq!(captures(&stage), Status::Exited(1));
    kill(keeper, Signal::SIGCONT).unwrap();
    stage.wait_clean(keeper);
}

pub(crate) fn a_restart_waits_until_the_last_keeper_has_cleared_up() {
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        let stage = Stage::new();
        let engine = stage.engaged(&job("main", on_failure));
        let keeper = stage.keeper_of("main");
        kill(keeper, Signal::SIGSTOP).unwrap();
        engine.kill();
        let next = stage.start(&job("main", on_failure));
        next.wait_line(|line| line == "started");
        kill(keeper, Signal::SIGCONT).unwrap();
        next.wait_line(|line| line == "engaged" || line.starts_with("error"));
        assert!(next.stdout().contains("engaged"), "{}", next.stdout());
        // And the port is taken by the one that runs.
        assert_eq!(captures(&stage), Status::Exited(1));
        let keeper = stage.keeper_of("main");
        next.write(b"release\n");
        next.wait_line(|line| line == "released Clean");
        next.close_input();
        next.wait();
        stage.wait_clean(keeper);
    }
}

/// Another user tries to listen on the engine's port, by every way of sharing one.
fn captures(stage: &Stage) -> Status {
    let script = format!(
        "import socket, sys\n\
         for address in 0, 1:\n\
         \x20for port in 0, 1:\n\
         \x20 s = socket.socket()\n\
         \x20 s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, address)\n\
         \x20 s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, port)\n\
         \x20 try: s.bind(('127.0.0.1', {PORT})); s.listen(); sys.exit(0)\n\
         \x20 except OSError as e: print(e)\n\
         sys.exit(1)"
    );
    stage
        .app
        .program("python3")
        .args(["-c", &script])
        .user(4343)
        .run()
        .status
}
