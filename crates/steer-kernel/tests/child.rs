//! A command started through the spawner behaves as under `env`: on a terminal, in a pipeline,
//! with signals, and in how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails the test"
)]

#[path = "support/harness.rs"]
mod harness;

use std::ffi::OsString;
use std::process::ExitCode;

use lab::{Need, Program, Pty, Signal, Status, eventually, require};
use steer_core::object::ChildSetting;
use steer_core::symbol::CgroupRef;
use steer_kernel::child::{Inherited, Spawner};

fn main() -> ExitCode {
    if std::env::var_os(ROLE).is_some() {
        run_command();
    }
    harness::run(harness::tests![
        the_exit_status_is_the_command_s,
        death_by_a_signal_is_passed_on_as_death_by_it,
        a_program_that_does_not_exist_is_127_and_one_that_cannot_run_126,
        a_closed_pipe_ends_the_command_as_ever,
        ignored_and_blocked_signals_are_those_that_steer_was_started_with,
        a_signal_to_steer_alone_reaches_the_command_once,
        ctrl_c_reaches_the_command_once_and_steer_waits_for_it,
        ctrl_c_ends_a_plain_command_and_steer_by_the_same_signal,
        ctrl_z_stops_the_job_and_fg_continues_it,
        a_pipeline_of_steered_commands_works_in_an_interactive_shell,
        an_interactive_shell_has_job_control_inside,
        a_command_that_is_stopped_stops_steer_and_goes_on_with_it,
        the_command_starts_in_the_cgroup_with_the_variables,
        a_variable_with_a_secret_is_kept_from_the_command,
        a_cgroup_that_does_not_exist_is_told_and_nothing_is_started,
        no_descriptor_of_steer_reaches_the_command,
    ])
}

/// What `steer run` does with its command: `[cgroup=PATH] [kept=NAME] [NAME=VALUE]… PROGRAM ARGS…`.
fn run_command() -> ! {
    let inherited = Inherited::capture().unwrap();
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (mut settings, mut kept) = (Vec::new(), Vec::new());
    while let Some((name, value)) = arguments[0].to_str().and_then(|a| a.split_once('=')) {
        settings.push(match name {
            "cgroup" => ChildSetting::Cgroup(CgroupRef::Path(value.to_owned())),
            "kept" => {
                kept.push(value.to_owned());
                arguments.remove(0);
                continue;
            }
            _ => ChildSetting::Env {
                name: name.to_owned(),
                value: value.to_owned(),
            },
        });
        arguments.remove(0);
    }
    let program = arguments.remove(0);
    let spawner = Spawner::new(inherited).keeping(kept.iter().map(String::as_str));
    match spawner.spawn(&program, &arguments, &settings) {
        Ok(running) => running.wait().unwrap().pass_on(),
        Err(error) => {
            eprintln!("steer: {error}; {}", error.help());
            std::process::exit(error.status())
        }
    }
}

/// This program in its role.
fn steer(arguments: &[&str]) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .env(ROLE, "1")
        .args(arguments)
}

/// A shell whose `$STEER` is this program in its role.
fn shell(arguments: &[&str]) -> Program {
    Program::new("bash")
        .env(ROLE, "1")
        .env("STEER", std::env::current_exe().unwrap())
        .env("PS1", "prompt> ")
        .args(arguments)
}

fn the_exit_status_is_the_command_s() {
    for status in [0, 1, 7, 127, 255] {
        let output = steer(&["sh", "-c", &format!("exit {status}")]).run();
        assert_eq!(output.status, Status::Exited(status));
    }
}

fn death_by_a_signal_is_passed_on_as_death_by_it() {
    for (name, number) in [
        ("TERM", 15),
        ("KILL", 9),
        ("SEGV", 11),
        ("PIPE", 13),
        ("USR1", 10),
    ] {
        let output = steer(&["sh", "-c", &format!("kill -{name} $$")]).run();
        assert_eq!(output.status, Status::Killed(number), "{name}");
    }
}

fn a_program_that_does_not_exist_is_127_and_one_that_cannot_run_126() {
    let output = steer(&["no-such-program"]).run();
    assert_eq!(output.status, Status::Exited(127));
    assert!(
        output.stderr.contains("no-such-program: command not found"),
        "{output:?}"
    );
    let output = steer(&["/etc/passwd"]).run();
    assert_eq!(output.status, Status::Exited(126), "{output:?}");
    let output = steer(&["/"]).run();
    assert_eq!(output.status, Status::Exited(126), "{output:?}");
}

fn a_closed_pipe_ends_the_command_as_ever() {
    let output = shell(&["-c", "\"$STEER\" yes | head -n 1; echo ${PIPESTATUS[0]}"]).run();
    assert_eq!(output.stdout, "y\n141\n");
}

fn ignored_and_blocked_signals_are_those_that_steer_was_started_with() {
    let look = "grep -E '^Sig(Ign|Blk)' /proc/self/status";
    for script in ["", "trap '' HUP INT TSTP;"] {
        let plain = shell(&["-c", &format!("{script} {look}; :")]).run();
        let steered = shell(&["-c", &format!("{script} \"$STEER\" {look}; :")]).run();
        assert_eq!(plain.stdout, steered.stdout, "{script}");
    }
}

fn a_signal_to_steer_alone_reaches_the_command_once() {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
    ] {
        // Waits for input after the first signal, so that a second one would be seen.
        let script = format!(
            "import signal, sys\n\
             signal.signal(signal.SIG{name}, lambda *_: print('got {name}', flush=True))\n\
             print('ready', flush=True)\n\
             sys.stdin.read()\n\
             sys.exit(3)"
        );
        let proc = steer(&["python3", "-c", &script]).spawn();
        proc.wait_line(|line| line == "ready");
        proc.signal(signal);
        proc.wait_line(|line| line == format!("got {name}"));
        proc.close_input();
        assert_eq!(proc.wait(), Status::Exited(3), "{name}");
        assert_eq!(proc.stdout().matches("got").count(), 1, "{name}");
    }
}

fn ctrl_c_reaches_the_command_once_and_steer_waits_for_it() {
    let script =
        "trap 'echo got INT' INT; echo ready; read line; echo read $line; read line; exit 4";
    let pty = steer(&["bash", "-c", script]).spawn_on_terminal();
    pty.wait_line(|line| line.ends_with("ready"));
    pty.type_keys(Pty::CTRL_C);
    pty.wait_line(|line| line.ends_with("got INT"));
    pty.type_keys("one\ntwo\n");
    assert_eq!(pty.wait(), Status::Exited(4));
    assert_eq!(
        pty.stdout().matches("got INT").count(),
        1,
        "{}",
        pty.stdout()
    );
}

fn ctrl_c_ends_a_plain_command_and_steer_by_the_same_signal() {
    let pty = steer(&["cat"]).spawn_on_terminal();
    pty.type_keys("here\n");
    // Once by the terminal's echo, once by cat.
    pty.wait_stdout(|text| text.matches("here").count() == 2);
    pty.type_keys(Pty::CTRL_C);
    assert_eq!(pty.wait(), Status::Killed(2));
}

fn ctrl_z_stops_the_job_and_fg_continues_it() {
    let pty = shell(&["--norc", "-i"]).spawn_on_terminal();
    pty.wait_stdout(|text| text.contains("prompt> "));
    pty.type_keys(&format!("\"$STEER\" {CAT}\n"));
    pty.wait_line(|line| line.ends_with("ready"));
    pty.type_keys("one\n");
    pty.wait_stdout(|text| text.matches("one\r\n").count() == 2);
    for round in ["two", "three"] {
        let before = pty.stdout().matches("Stopped").count();
        pty.type_keys(Pty::CTRL_Z);
        pty.wait_stdout(|text| text.matches("Stopped").count() == before + 1);
        pty.type_keys("fg\n");
        in_foreground(&pty);
        pty.type_keys(&format!("{round}\n"));
        pty.wait_stdout(|text| text.matches(&format!("{round}\r\n")).count() == 2);
    }
    pty.type_keys(Pty::CTRL_D);
    back_in_shell(&pty);
    pty.type_keys("echo status=$?\n");
    pty.wait_line(|line| line.contains("status=0"));
    // What the shell says of a stop by the terminal, not by SIGSTOP.
    assert!(!pty.stdout().contains("(signal)"), "{}", pty.stdout());
    pty.type_keys("exit\n");
    pty.wait();
}

fn a_pipeline_of_steered_commands_works_in_an_interactive_shell() {
    let pty = shell(&["--norc", "-i"]).spawn_on_terminal();
    pty.wait_stdout(|text| text.contains("prompt> "));
    pty.type_keys(&format!(
        "\"$STEER\" {CAT} | \"$STEER\" tr a-z A-Z | \"$STEER\" cat\n"
    ));
    in_foreground(&pty);
    pty.type_keys("from the terminal\n");
    pty.type_keys(Pty::CTRL_D);
    pty.wait_line(|line| line.ends_with("FROM THE TERMINAL"));
    back_in_shell(&pty);
    let sleep = "sh -c 'echo awa\"\"ke >&2; exec sleep 1000'";
    pty.type_keys(&format!("\"$STEER\" {sleep} | \"$STEER\" {CAT}\n"));
    pty.wait_line(|line| line.ends_with("awake"));
    pty.wait_line(|line| line.ends_with("ready"));
    // The shell may start both before it gives the job the terminal: the key would be its own.
    in_foreground(&pty);
    // Both commands are the foreground job, so that one key ends both.
    pty.type_keys(Pty::CTRL_C);
    back_in_shell(&pty);
    pty.type_keys("echo status=${PIPESTATUS[*]}\n");
    pty.wait_line(|line| line.contains("status=130 130"));
    pty.type_keys("exit\n");
    pty.wait();
}

fn an_interactive_shell_has_job_control_inside() {
    let pty = steer(&["PS1=inner> ", "bash", "--norc", "-i"]).spawn_on_terminal();
    pty.wait_stdout(|text| text.contains("inner> "));
    assert!(!pty.stdout().contains("no job control"), "{}", pty.stdout());
    pty.type_keys(&format!("{CAT}\n"));
    pty.wait_line(|line| line.ends_with("ready"));
    pty.type_keys("words\n");
    pty.wait_stdout(|text| text.matches("words\r\n").count() == 2);
    pty.type_keys(Pty::CTRL_Z);
    pty.wait_stdout(|text| text.contains("Stopped"));
    let shell = pty.foreground_group();
    pty.type_keys("fg\n");
    eventually("the job is in the foreground", || {
        (pty.foreground_group() != shell).then_some(())
    });
    pty.type_keys(Pty::CTRL_C);
    eventually("the shell is in the foreground", || {
        (pty.foreground_group() == shell).then_some(())
    });
    pty.type_keys("exit 5\n");
    assert_eq!(pty.wait(), Status::Exited(5));
}

fn a_command_that_is_stopped_stops_steer_and_goes_on_with_it() {
    let proc = steer(&["bash", "-c", "echo pid=$$; read line; echo done; exit 6"]).spawn();
    let line = proc.wait_line(|line| line.starts_with("pid="));
    let command: i32 = line.trim_start_matches("pid=").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(command), Signal::SIGSTOP).unwrap();
    eventually("steer stops as well", || {
        (proc.state() == Some('T')).then_some(())
    });
    proc.signal(Signal::SIGCONT);
    proc.write(b"go\n");
    proc.wait_line(|line| line == "done");
    assert_eq!(proc.wait(), Status::Exited(6));
}

fn the_command_starts_in_the_cgroup_with_the_variables() {
    if !require(&[Need::Root, Need::Cgroup2]) {
        return;
    }
    let cgroup = lab::Cgroup::new("child");
    let output = steer(&[
        &format!("cgroup={}", cgroup.name()),
        "http_proxy=http://127.0.0.1:15001",
        "sh",
        "-c",
        "echo $http_proxy; grep ^0:: /proc/self/cgroup",
    ])
    .run();
    let wanted = format!("http://127.0.0.1:15001\n0::/{}\n", cgroup.name());
    assert_eq!(output.stdout, wanted, "{output:?}");
}

fn a_variable_with_a_secret_is_kept_from_the_command() {
    // The harness has PATH, which has a value for sure.
    let command = ["/bin/sh", "-c", "tr '\\0' '\\n' < /proc/$$/environ"];
    let given = |more: &[&str]| steer(&[more, &command].concat()).run().stdout;
    let names = |environ: &str, start: &str| environ.lines().any(|line| line.starts_with(start));
    assert!(names(&given(&["A=1"]), "PATH="));
    let kept = given(&["kept=PATH", "A=1"]);
    assert!(names(&kept, "A=1"), "{kept}");
    assert!(!names(&kept, "PATH="), "{kept}");
}

fn a_cgroup_that_does_not_exist_is_told_and_nothing_is_started() {
    if !require(&[Need::Root, Need::Cgroup2]) {
        return;
    }
    let output = steer(&["cgroup=steer-no-such", "echo", "started"]).run();
    assert_eq!(output.status, Status::Exited(125));
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("steer: "), "{output:?}");
}

fn no_descriptor_of_steer_reaches_the_command() {
    let plain = Program::new("bash").args(["-c", "ls /proc/$$/fd"]).run();
    let steered = steer(&["bash", "-c", "ls /proc/$$/fd"]).run();
    assert_eq!(plain.stdout, steered.stdout);
}

fn in_foreground(pty: &Pty) {
    eventually("the job is in the foreground", || {
        (pty.foreground_group() != pty.pid()).then_some(())
    });
}

fn back_in_shell(pty: &Pty) {
    eventually("the shell is in the foreground", || {
        (pty.foreground_group() == pty.pid()).then_some(())
    });
}

/// Says `ready` when it runs; the shell's echo of this text does not.
const CAT: &str = "sh -c 'echo rea\"\"dy; exec cat'";

/// Set for this program as `steer run`.
const ROLE: &str = "STEER_TEST_RUN";
