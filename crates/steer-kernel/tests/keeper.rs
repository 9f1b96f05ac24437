//! The keeper process against the kernel: what stands after the death of the engine, of the
//! keeper, and of both.

#[path = "support/harness.rs"]
mod harness;
#[path = "support/steering.rs"]
mod steering;

use std::io::{BufRead, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lab::{
    Cgroup, Family, Host, Lab, Need, Proc, Program, Service, Signal, Status, eventually, require,
};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use steer_core::address::IdRange;
use steer_core::instance::Instance;
use steer_core::intent::{OnFailure, Scope, Selector};
use steer_core::journal::{Journal, State};
use steer_core::keeper::Job;
use steer_core::method::Method;
use steer_core::object::Object;
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{Bindings, CgroupRef};
use steer_kernel::drivers::Drivers;
use steer_kernel::journal::{RunDir, process};
use steer_kernel::keeper;
use steer_kernel::nft::NftDriver;

fn main() -> ExitCode {
    keeper::entry();
    match std::env::var(ROLE).as_deref() {
        Ok("engine") => engine(),
        Ok("clean") => clean(),
        _ => {}
    }
    if !require(&[
        Need::Root,
        Need::Cgroup2,
        Need::Program("nft"),
        Need::Program("python3"),
    ]) {
        return ExitCode::SUCCESS;
    }
    harness::run(&[
        (
            "an_orderly_release_leaves_nothing",
            an_orderly_release_leaves_nothing,
        ),
        (
            "open_leaves_nothing_when_the_engine_is_killed",
            open_leaves_nothing_when_the_engine_is_killed,
        ),
        (
            "closed_leaves_the_guard_when_the_engine_is_killed_and_the_next_start_adopts_it",
            closed_leaves_the_guard_when_the_engine_is_killed_and_the_next_start_adopts_it,
        ),
        (
            "a_killed_keeper_changes_nothing_and_is_replaced",
            a_killed_keeper_changes_nothing_and_is_replaced,
        ),
        (
            "a_release_after_the_keeper_s_death_still_undoes_everything",
            a_release_after_the_keeper_s_death_still_undoes_everything,
        ),
        (
            "both_killed_leaves_no_steering_and_clean_removes_the_guard",
            both_killed_leaves_no_steering_and_clean_removes_the_guard,
        ),
        (
            "both_killed_resets_the_clients_before_the_rules_go",
            both_killed_resets_the_clients_before_the_rules_go,
        ),
        (
            "the_engine_killed_resets_the_clients_before_the_rules_go",
            the_engine_killed_resets_the_clients_before_the_rules_go,
        ),
        (
            "no_signal_of_a_terminal_reaches_the_keeper",
            no_signal_of_a_terminal_reaches_the_keeper,
        ),
        (
            "the_keeper_holds_nothing_of_the_engine_s_surroundings",
            the_keeper_holds_nothing_of_the_engine_s_surroundings,
        ),
        (
            "a_second_instance_of_the_name_and_an_overlapping_scope_are_refused",
            a_second_instance_of_the_name_and_an_overlapping_scope_are_refused,
        ),
        (
            "a_foreign_table_of_our_name_is_refused_and_nothing_is_left",
            a_foreign_table_of_our_name_is_refused_and_nothing_is_left,
        ),
        (
            "closed_refuses_what_the_command_left_until_it_is_gone",
            closed_refuses_what_the_command_left_until_it_is_gone,
        ),
        (
            "closed_guards_the_command_of_a_killed_engine_until_it_is_gone",
            closed_guards_the_command_of_a_killed_engine_until_it_is_gone,
        ),
        (
            "open_moves_what_the_command_left_to_the_parent_cgroup",
            open_moves_what_the_command_left_to_the_parent_cgroup,
        ),
        (
            "clean_ends_what_lives_only_when_told_to",
            clean_ends_what_lives_only_when_told_to,
        ),
        (
            "a_program_without_an_entry_is_told_so_and_not_started_over_and_over",
            a_program_without_an_entry_is_told_so_and_not_started_over_and_over,
        ),
    ])
}

// ---- the roles of this program ----

/// An engine: accepts and holds connections, and does what lines on its input say.
fn engine() -> ! {
    if let Ok(listener) = TcpListener::bind(("0.0.0.0", PORT)) {
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let linger = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
                    .unwrap();
                println!("accepted");
                held.push(stream);
            }
        });
    }
    let file = std::env::args().nth(1).unwrap();
    let job: Job = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut keeper = match keeper::spawn() {
        Ok(keeper) => keeper,
        Err(error) => fail(&error),
    };
    if let Err(error) = keeper.commit(&job) {
        fail(&error);
    }
    let mut lost = keeper.lost().unwrap().unwrap();
    std::thread::spawn(move || {
        assert_eq!(lost.read(&mut [0]).unwrap(), 0);
        println!("lost");
    });
    println!("engaged");
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "restore" => keeper.restore().unwrap(),
            "retire" => keeper.retire().unwrap(),
            "release" => match keeper.release() {
                Ok(released) => println!("released {released:?}"),
                Err(error) => fail(&error),
            },
            other => panic!("{other}"),
        }
        println!("done");
    }
    std::process::exit(0)
}

fn fail(error: &steer_core::keeper::KeeperError) -> ! {
    println!("error: {error}; help: {}", error.help());
    std::process::exit(1)
}

/// `clean`, on nf_tables alone: cgroups are the machine's, and other tests run beside.
fn clean() -> ! {
    let reach = match std::env::args().nth(1).as_deref() {
        Some("all") => keeper::Reach::All,
        _ => keeper::Reach::Dead,
    };
    let mut drivers = Drivers::new(vec![Box::new(NftDriver::new())]);
    let cleaned = keeper::clean(&mut drivers, &RunDir::find().unwrap(), reach).unwrap();
    print!("{cleaned}");
    std::process::exit(i32::from(!cleaned.failures.is_empty()))
}

// ---- the stage ----

/// A host with an engine's surroundings.
struct Stage {
    app: Host,
    srv: Host,
    _files: tempfile::TempDir,
    run: PathBuf,
    jobs: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new("keeper");
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        let files = tempfile::tempdir().unwrap();
        Self {
            app,
            srv,
            run: files.path().join("run"),
            jobs: files.path().to_owned(),
            _files: files,
        }
    }

    fn role(&self, role: &str) -> Program {
        self.app
            .program(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env("STEER_RUN_DIR", &self.run)
    }

    /// An engine that is told to put the job in force.
    fn start(&self, job: &Job) -> Proc {
        let file = self.jobs.join(format!("{}.job", job.instance()));
        std::fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
        self.role("engine").arg(file).spawn()
    }

    /// An engine with the job in force.
    fn engaged(&self, job: &Job) -> Proc {
        let engine = self.start(job);
        engine.wait_line(|line| line == "engaged" || line.starts_with("error"));
        assert!(engine.stdout().contains("engaged"), "{}", engine.stdout());
        engine
    }

    fn tables(&self) -> Vec<String> {
        let text = self
            .app
            .program("nft")
            .args(["list", "tables"])
            .run()
            .expect_success();
        text.lines()
            .map(|line| line.trim_start_matches("table inet ").to_owned())
            .collect()
    }

    /// The ruleset, without the name that `nft` finds for a table's owner.
    fn rules(&self) -> String {
        let text = steering::list(&self.app);
        let lines = text
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn wait_tables(&self, wanted: &[&str]) {
        eventually(&format!("the tables {wanted:?}"), || {
            (self.tables() == wanted).then_some(())
        });
    }

    fn journal(&self, name: &str) -> Option<Journal> {
        let text = std::fs::read(self.run.join(format!("{name}.json"))).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    fn wait_state(&self, name: &str, state: State) {
        eventually(&format!("the state {state:?}"), || {
            self.journal(name).filter(|j| j.state == state).map(drop)
        });
    }

    fn keeper_of(&self, name: &str) -> Pid {
        Pid::from_raw(self.journal(name).unwrap().keeper.pid.try_into().unwrap())
    }

    /// Nothing of ours is left: no table, no journal, no directory, no keeper.
    fn wait_clean(&self, keeper: Pid) {
        self.wait_tables(&[]);
        eventually("the run directory is gone", || {
            (!self.run.exists()).then_some(())
        });
        eventually("the keeper is gone", || {
            (!Path::new(&format!("/proc/{keeper}/stat")).exists()).then_some(())
        });
    }

    /// A steered connection of the user 4242 to the server, which says how it ends.
    fn client(&self) -> Proc {
        let at = self.srv.at(Family::V4, 80);
        let script = format!(
            "import socket\n\
             s = socket.create_connection(('{}', {}))\n\
             print('connected', flush=True)\n\
             try: print('read', s.recv(9), flush=True)\n\
             except OSError as e: print(type(e).__name__, flush=True)",
            at.ip(),
            at.port(),
        );
        self.app
            .program("python3")
            .args(["-c", &script])
            .user(4242)
            .spawn()
    }
}

fn job(name: &str, on_failure: OnFailure) -> Job {
    let uid = || Test::Uid(vec![IdRange::new(4242, 4242).unwrap()]);
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object: Object::Nft(object),
    };
    Job {
        method: Method::Redirect,
        bindings: Bindings::new(Instance::new(name).unwrap()),
        on_failure,
        scope: Scope {
            of: Selector {
                uid: vec![IdRange::new(4242, 4242).unwrap()],
                ..Selector::default()
            },
            ..Scope::default()
        },
        objects: vec![
            planned(Life::Guard, guard([uid()])),
            planned(Life::Steer, steering::redirect(PORT, [uid()])),
        ],
    }
}

/// A job for a command in a cgroup below `parent`.
fn command_job(name: &str, on_failure: OnFailure, parent: &Cgroup) -> Job {
    let path = format!("{}/steer-{name}", parent.name());
    let cgroup = CgroupRef::Path(path.clone());
    let inside = || Test::Cgroup(cgroup.clone());
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object,
    };
    let mut bindings = Bindings::new(Instance::new(name).unwrap());
    bindings.command_cgroup = Some(path);
    Job {
        bindings,
        scope: Scope::command(),
        objects: vec![
            planned(Life::Support, Object::Cgroup(cgroup.clone())),
            planned(Life::Guard, Object::Nft(guard([inside()]))),
            planned(
                Life::Steer,
                Object::Nft(steering::redirect(PORT, [inside()])),
            ),
        ],
        ..job(name, on_failure)
    }
}

fn guard(tests: impl IntoIterator<Item = Test>) -> Ruleset {
    let mut ruleset = steering::guard(&steer_core::address::Family::ALL, Verdict::Prohibit);
    let mut refuse = vec![Test::Opening];
    refuse.extend(tests);
    ruleset.chains[0].rules = vec![
        Rule::new([Test::Rewritten], Verdict::Return, "steered already"),
        Rule::new(refuse, Verdict::Prohibit, "a test refuses"),
    ];
    assert_eq!(ruleset.role, Role::Guard);
    ruleset
}

/// A process of the command that outlives it.
fn leftover(parent: &Cgroup, name: &str) -> Proc {
    let procs = parent.path().join(format!("steer-{name}/cgroup.procs"));
    let proc = Program::new("sh")
        .args([
            "-c",
            &format!("echo 0 > {}; echo in; exec sleep 1000", procs.display()),
        ])
        .spawn();
    proc.wait_line(|line| line == "in");
    proc
}

// ---- the tests ----

fn an_orderly_release_leaves_nothing() {
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

fn open_leaves_nothing_when_the_engine_is_killed() {
    let stage = Stage::new();
    let engine = stage.engaged(&job("main", OnFailure::Open));
    let keeper = stage.keeper_of("main");
    engine.kill();
    stage.wait_clean(keeper);
}

fn closed_leaves_the_guard_when_the_engine_is_killed_and_the_next_start_adopts_it() {
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

fn a_killed_keeper_changes_nothing_and_is_replaced() {
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

fn a_release_after_the_keeper_s_death_still_undoes_everything() {
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

fn both_killed_leaves_no_steering_and_clean_removes_the_guard() {
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

fn both_killed_resets_the_clients_before_the_rules_go() {
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

fn the_engine_killed_resets_the_clients_before_the_rules_go() {
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

fn no_signal_of_a_terminal_reaches_the_keeper() {
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

fn the_keeper_holds_nothing_of_the_engine_s_surroundings() {
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

fn a_second_instance_of_the_name_and_an_overlapping_scope_are_refused() {
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

fn a_foreign_table_of_our_name_is_refused_and_nothing_is_left() {
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
    assert!(
        engine.stdout().starts_with("error: "),
        "{}",
        engine.stdout()
    );
    assert!(
        engine.stdout().contains("steer_main"),
        "{}",
        engine.stdout()
    );
    assert_eq!(stage.rules(), before);
    assert!(!stage.run.exists());
}

fn closed_refuses_what_the_command_left_until_it_is_gone() {
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

fn closed_guards_the_command_of_a_killed_engine_until_it_is_gone() {
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

fn open_moves_what_the_command_left_to_the_parent_cgroup() {
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

fn clean_ends_what_lives_only_when_told_to() {
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

fn a_program_without_an_entry_is_told_so_and_not_started_over_and_over() {
    // What a keeper's stage would find in a program that does not look for it.
    let stage = Stage::new();
    let file = stage.jobs.join("main.job");
    std::fs::write(
        &file,
        serde_json::to_vec(&job("main", OnFailure::Open)).unwrap(),
    )
    .unwrap();
    let output = stage
        .role("engine")
        .env("STEER_KEEPER_STAGE", "unknown")
        .arg(file)
        .deadline(Duration::from_secs(20))
        .run();
    assert_eq!(output.status, Status::Exited(1), "{output:?}");
    assert!(stage.tables().is_empty());
    assert!(process::is_alive(process::this()));
}

const ROLE: &str = "STEER_TEST_ROLE";
const PORT: u16 = 15001;
