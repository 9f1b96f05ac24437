//! How the keeper behaves to terminals, to other instances and to other programs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lab::{Program, Signal, Status};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use steer_core::intent::OnFailure;
use steer_core::journal::State;

use crate::stage::{Stage, job};
use crate::{ROLE, WITHOUT_ENTRY};

pub(crate) fn no_signal_of_a_terminal_reaches_the_keeper() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    let keeper = stage.keeper_of("main");
    assert_ne!(
        nix::unistd::getsid(Some(keeper)).unwrap(),
        nix::unistd::getsid(Some(Pid::from_raw(engine.pid()))).unwrap()
    );
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
    ] {
        kill(keeper, signal).unwrap();
    }
    // To the whole group of the engine, as a terminal does it.
    killpg(Pid::from_raw(engine.pid()), Signal::SIGINT).unwrap();
    assert_eq!(engine.wait(), Status::Killed(2));
    stage.wait_state("main", State::Crashed);
    stage.wait_tables(&["steer_main_guard"]);
    stage.role("clean").run().expect_success();
}

pub(crate) fn the_keeper_holds_nothing_of_the_engine_s_surroundings() {
    let stage = Stage::new();
    // A descriptor that the engine inherited without knowing, and a secret in its environment.
    let engine = {
        let file = stage.jobs.join("main.job");
        std::fs::write(
            &file,
            serde_json::to_vec(&job("main", OnFailure::Open)).unwrap(),
        )
        .unwrap();
        stage
            .app
            .program("bash")
            .env(ROLE, "engine")
            .env("STEER_RUN_DIR", &stage.run)
            .env("PASSWORD", "secret")
            .args(["-c", "exec 9</etc/passwd; exec \"$0\" \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(file)
            .spawn()
    };
    engine.wait_line(|line| line == "engaged");
    let place = PathBuf::from(format!("/proc/{}", stage.keeper_of("main")));
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    assert_eq!(read("comm"), "steer-keeper\n");
    assert!(!read("environ").contains("secret"));
    assert_eq!(
        std::fs::read_link(place.join("cwd")).unwrap(),
        Path::new("/")
    );
    let may_lower = Program::new("sh")
        .args(["-c", "echo -900 > /proc/self/oom_score_adj"])
        .run();
    let wanted = if may_lower.status == Status::Exited(0) {
        "-900\n"
    } else {
        "0\n"
    };
    assert_eq!(read("oom_score_adj"), wanted);
    for entry in std::fs::read_dir(place.join("fd")).unwrap() {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).unwrap();
        let target = target.to_string_lossy();
        let fine = target == "/dev/null"
            || target.starts_with("socket:")
            || target.starts_with("anon_inode:[pidfd]")
            || target.starts_with("pidfd:")
            || target.starts_with("pipe:")
            || target.contains("cgroup");
        assert!(fine, "{:?} is {target}", entry.file_name());
        if entry.file_name() == "0" || entry.file_name() == "1" || entry.file_name() == "2" {
            assert_eq!(target, "/dev/null");
        }
    }
    // It is nobody's child that has to be waited for.
    let status = read("status");
    let parent = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:\t"))
        .unwrap();
    assert_ne!(parent, engine.pid().to_string());
}

pub(crate) fn a_second_instance_of_the_name_and_an_overlapping_scope_are_refused() {
    let stage = Stage::new();
    let first = stage.engaged(&job("main", OnFailure::Open));
    let before = stage.rules();
    let same = stage.start(&job("main", OnFailure::Open));
    assert_eq!(same.wait(), Status::Exited(1));
    let said = same.stdout();
    assert!(
        said.contains(&format!("in force already, by process {}", first.pid())),
        "{said}"
    );
    assert!(said.contains("--name"), "{said}");
    let overlapping = stage.start(&job("other", OnFailure::Open));
    assert_eq!(overlapping.wait(), Status::Exited(1));
    let said = overlapping.stdout();
    assert!(said.contains("overlapping scope: uid"), "{said}");
    assert!(said.contains("narrow"), "{said}");
    assert_eq!(stage.rules(), before);
    assert_eq!(std::fs::read_dir(&stage.run).unwrap().count(), 1);
}

pub(crate) fn a_foreign_table_of_our_name_is_refused_and_nothing_is_left() {
    let stage = Stage::new();
    stage
        .app
        .program("nft")
        .args(["add", "table", "inet", "steer_main"])
        .run()
        .expect_success();
    let before = stage.rules();
    let engine = stage.start(&job("main", OnFailure::Closed));
    assert_eq!(engine.wait(), Status::Exited(1));
    assert!(engine.stdout().contains("\nerror: "), "{}", engine.stdout());
    assert!(
        engine.stdout().contains("steer_main"),
        "{}",
        engine.stdout()
    );
    assert_eq!(stage.rules(), before);
    assert!(!stage.run.exists());
}

pub(crate) fn clean_ends_what_lives_only_when_told_to() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Closed));
    let keeper = stage.keeper_of("main");
    let before = stage.rules();
    let said = stage.role("clean").run().expect_success();
    assert!(
        said.contains(&format!(
            "left alone main, in force by process {}",
            engine.pid()
        )),
        "{said}"
    );
    assert_eq!(stage.rules(), before);
    let said = stage.role("clean").arg("all").run().expect_success();
    assert!(said.contains("ended main"), "{said}");
    assert_eq!(engine.wait(), Status::Killed(15));
    stage.wait_clean(keeper);
}

pub(crate) fn a_program_without_an_entry_is_told_so_and_not_started_over_and_over() {
    let output = Program::new(std::env::current_exe().unwrap())
        .env("STEER_RUN_DIR", std::env::temp_dir().join(WITHOUT_ENTRY))
        .run();
    assert_eq!(output.status, Status::Exited(3), "{output:?}");
    assert_eq!(
        output.stdout,
        "error: the keeper process does not answer: start it\n"
    );
}

pub(crate) fn a_program_with_more_rights_than_its_starter_becomes_no_keeper() {
    let files = tempfile::tempdir_in("/var/tmp").unwrap();
    let everyone = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    everyone(files.path(), 0o755);
    let program = files.path().join("program");
    // By another process: a descriptor for writing, inherited by a fork of another test, would
    // make it "text file busy".
    let cp = std::process::Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(cp.unwrap().success());
    for (mode, status) in [(0o755, 1), (0o4755, 77)] {
        everyone(&program, mode);
        let output = Program::new(&program)
            .env("STEER_KEEPER_STAGE", "start")
            .user(4242)
            .run();
        assert_eq!(output.status, Status::Exited(status), "{mode:o}");
    }
}
