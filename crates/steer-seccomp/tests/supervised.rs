//! Programs under the supervisor, with an engine that answers as the destination says.
//!
//! Nothing leaves the host: what is asked for are addresses of documentation networks, and the
//! engine dials nobody.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[cfg(target_arch = "x86_64")]
#[path = "supervised/elf.rs"]
mod elf;
#[path = "supervised/engine.rs"]
mod engine;

use std::io::{BufRead, BufReader};
use std::net::SocketAddrV4;
use std::os::unix;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{HANDED_OVER, Own, UNANSWERED, engine};
use lab::require;
use nix::errno::Errno;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::{Intent, Relay, Scope};
use steer_core::object::{ChildSetting, Object};
use steer_core::plan::Netns;
use steer_core::steerer::Steerer;
use steer_core::symbol::ControlRef;
use steer_core::{host::Host, instance::Instance, listen};
use steer_kernel::child::{Exit, Inherited, Spawner};
use steer_seccomp::Seccomp;

fn intent(relay: Relay) -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    intent.relay = Some(relay);
    intent.identify = true;
    intent
}

/// The intake of a plan, and how its command is started.
fn open(intent: &Intent) -> (Box<dyn Intake>, Vec<ChildSetting>) {
    let plan = Seccomp.plan(intent, &Host::example()).unwrap();
    let mut intake = None;
    let mut name = String::new();
    let mut settings = Vec::new();
    for planned in plan.objects {
        match planned.object {
            Object::Listener(listener) => {
                let (_, sockets) = listen::listen(&listener).unwrap();
                name = control_name(&sockets);
                let bound = Bound {
                    listener,
                    netns: Netns::Here,
                    sockets,
                    inside: None,
                    shared: Vec::new(),
                };
                intake = Some(Seccomp.intake(intent, bound).unwrap());
            }
            Object::Child(ChildSetting::Supervised { .. }) => {
                settings.push(ChildSetting::Supervised {
                    control: ControlRef::Name(name.clone()),
                });
            }
            Object::Child(setting) => settings.push(setting),
            other => panic!("an object that is not for this method: {other}"),
        }
    }
    (intake.unwrap(), settings)
}

fn control_name(sockets: &Sockets) -> String {
    use std::os::linux::net::SocketAddrExt;
    let Sockets::Control(socket) = sockets else {
        panic!("not a control listener");
    };
    let address = socket.local_addr().unwrap();
    String::from_utf8(address.as_abstract_name().unwrap().to_vec()).unwrap()
}

/// Signals are the process's: one command at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a program under the supervisor and tells how it ended.
fn run(relay: Relay, program: &str, args: &[&str]) -> Exit {
    run_beside(0, relay, program, args)
}

/// The same beside others who come to the control listener and say nothing.
fn run_beside(silent: usize, relay: Relay, program: &str, args: &[&str]) -> Exit {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let exit = runtime.block_on(async {
        let (mut intake, settings) = open(&intent(relay));
        let own = Own::open(relay);
        let _silent: Vec<_> = (0..silent).map(|_| call(&settings)).collect();
        tokio::spawn(async move {
            while let Some(steered) = intake.next().await {
                assert!(steered.identity.pid.is_some() && steered.identity.exe.is_some());
                tokio::spawn(engine(steered, own));
            }
        });
        let args: Vec<_> = args.iter().map(Into::into).collect();
        let spawner = Spawner::new(Inherited::capture().unwrap());
        let running = spawner.spawn(program.as_ref(), &args, &settings).unwrap();
        let waited = tokio::task::spawn_blocking(|| running.wait());
        tokio::time::timeout(Duration::from_secs(60), waited)
            .await
            .expect("the program ends in time")
            .unwrap()
            .unwrap()
    });
    // With the program its connects have ended.
    let deadline = Instant::now() + Duration::from_secs(30);
    while UNANSWERED.load(Relaxed) > 0 {
        assert!(Instant::now() < deadline, "a connect goes on for nobody");
        std::thread::sleep(Duration::from_millis(10));
    }
    runtime.shutdown_background();
    exit
}

/// Calls at the control listener as a command does.
fn call(settings: &[ChildSetting]) -> UnixStream {
    use std::os::linux::net::SocketAddrExt;
    let name = settings.iter().find_map(|setting| match setting {
        ChildSetting::Supervised {
            control: ControlRef::Name(name),
        } => Some(name),
        _ => None,
    });
    let address = unix::net::SocketAddr::from_abstract_name(name.unwrap()).unwrap();
    UnixStream::connect_addr(&address).unwrap()
}

fn script() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/programs/sockets.py");
    path.to_str().unwrap().to_owned()
}

/// One that every user may execute, where there is one.
fn python() -> &'static str {
    const SHARED: &str = "/usr/bin/python3";
    match std::path::Path::new(SHARED).exists() {
        true => SHARED,
        false => "python3",
    }
}

/// A case of the script, in both ways.
fn case(name: &str) {
    require!(Program("python3"));
    for relay in [Relay::Always, Relay::Needed] {
        let exit = run(relay, python(), &[&script(), name]);
        assert_eq!(exit, Exit::Status(0), "{name}, relay {relay:?}");
    }
}

macro_rules! cases {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            case($name);
        }
    )*};
}

cases! {
    a_blocking_connect_is_the_engine_s: "blocking",
    a_blocking_connect_fails_with_the_engine_s_errno_and_leaves_the_socket_as_it_was:
        "blocking_errors",
    a_nonblocking_connect_is_pending_until_the_engine_is_there: "nonblocking",
    a_nonblocking_connect_that_fails_tells_its_errno_when_it_is_asked: "nonblocking_errors",
    a_socket_in_an_epoll_since_before_connect_is_woken: "registered_before",
    a_duplicate_is_the_same_connection: "duplicates",
    poll_waits_for_the_engine: "polled",
    asyncio_connects_and_is_refused: "loop",
    a_time_limit_of_the_program_holds: "timeout",
    two_hundred_threads_connect_at_once: "threads",
    a_connect_that_waits_stops_no_other: "blocked_does_not_block",
    children_and_daemons_are_steered: "forks",
    signals_end_a_call_as_without_a_supervisor: "signals",
    a_signal_of_the_process_ends_the_call_of_the_thread_that_takes_it: "signals_elsewhere",
    an_interrupt_ends_a_connect_that_waits: "interrupted",
    loopback_and_unix_sockets_are_left_alone: "loopback",
    datagrams_that_would_leave_are_refused: "datagrams",
    rings_other_families_and_x32_are_refused: "others",
    what_the_kernel_refuses_is_refused_in_its_words: "bad_arguments",
    a_connect_that_nobody_waits_for_is_given_up: "given_up",
    a_process_that_hides_is_refused: "hidden",
}

#[test]
fn a_connection_that_is_handed_over_is_the_program_s_own() {
    let before = HANDED_OVER.load(Relaxed);
    case("handed_over");
    assert_ne!(HANDED_OVER.load(Relaxed), before);
}

#[test]
fn whoever_calls_and_says_nothing_keeps_no_command_waiting() {
    require!(Program("python3"));
    // Together they are patiently heard for longer than a program may take.
    let exit = run_beside(10, Relay::Always, python(), &[&script(), "blocking"]);
    assert_eq!(exit, Exit::Status(0));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn static_programs_that_begin_with_a_connect_are_steered_in_either_convention() {
    use elf::Convention;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (convention, last, status) in [
        (Convention::Native, 1, 0),
        (Convention::Native, 2, Errno::ECONNREFUSED as i32),
        (Convention::Direct, 1, 0),
        (Convention::Direct, 2, Errno::ECONNREFUSED as i32),
        // Its arguments are in memory, where no filter sees the family.
        (Convention::Socketcall, 1, Errno::EAFNOSUPPORT as i32),
    ] {
        let to = SocketAddrV4::new([203, 0, 113, last].into(), 7);
        let program = elf::write(dir.path(), convention, to);
        if convention != Convention::Native && !runs_32_bits() {
            eprintln!("SKIPPED: {convention:?} needs a kernel that runs 32-bit programs");
            continue;
        }
        let exit = run(Relay::Always, program.to_str().unwrap(), &[]);
        assert_eq!(exit, Exit::Status(status), "{convention:?} {last}");
    }
}

/// Whether the kernel was made with the convention of 32-bit programs (CONFIG_IA32_EMULATION).
#[cfg(target_arch = "x86_64")]
fn runs_32_bits() -> bool {
    std::fs::read_to_string("/proc/kallsyms")
        .is_ok_and(|all| all.lines().any(|line| line.ends_with(" ia32_sys_call")))
}

#[test]
fn when_the_supervisor_is_killed_nothing_is_connected_and_what_was_is_reset() {
    require!(Program("python3"));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut supervisor = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_supervisor_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(OUT, &out)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    // The program has the pipe, too: it ends with it.
    assert_eq!(lines.count(), 0);
    let told = std::fs::read_to_string(out).unwrap();
    assert_eq!(told, "ENOSYS ENOSYS reset");
}

#[test]
#[ignore = "the supervisor of another test"]
fn a_supervisor_that_is_killed() {
    let out = std::env::var(OUT).unwrap();
    let own = std::process::id().to_string();
    run(
        Relay::Always,
        python(),
        &[&script(), "orphaned", &own, &out],
    );
}

const OUT: &str = "STEER_TEST_OUT";

#[test]
fn all_of_it_holds_for_a_user_without_privileges() {
    require!(Root, Program("python3"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let test = dir.path().join("supervised");
    std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    // Nor two of them beside each other, each of which looks at what becomes of processes.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let done = Command::new(&test)
        .args(["--skip", "all_of_it_holds"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(done.success());
}

const NOBODY: u32 = 65534;
