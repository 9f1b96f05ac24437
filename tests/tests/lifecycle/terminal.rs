//! `steer run` on a real terminal: Ctrl-C, job control, hang-up.

use lab::{Pty, Signal, Status, eventually};

use crate::site::{Means, OnFailure, Site};

/// Counts its interrupts, and says so when asked.
const COUNTER: &str = "\
import signal, sys
count = 0
def interrupted(*_):
    global count
    count += 1
    print('interrupted', flush=True)
def asked(*_):
    print('count', count, flush=True)
    sys.exit(40 + count)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGUSR1, asked)
print('ready', flush=True)
while True:
    signal.pause()
";

/// The command is the terminal's: it gets the signal from there, and not from `steer` again.
#[test]
fn the_command_gets_ctrl_c_once() {
    lab::require!(Namespaces, Cgroup2, Program("python3"));
    let site = Site::new("once");
    let pty = site
        .run(Means::RedirectNft, OnFailure::Closed)
        .args(["python3", "-c", COUNTER])
        .spawn_on_terminal();
    pty.wait_line(|line| line == "ready");
    for _ in 0..3 {
        let before = pty.stdout().matches("interrupted").count();
        pty.type_keys(Pty::CTRL_C);
        pty.wait_stdout(|text| text.matches("interrupted").count() > before);
    }
    // Given on by `steer`, behind whatever else it might have given on.
    pty.signal(Signal::SIGUSR1);
    pty.wait_stdout(|text| text.contains("count 3"));
    assert_eq!(pty.wait(), Status::Exited(43));
    site.assert_untouched();
}

fn interrupted(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let site = Site::new("ctrlc");
    let pty = site
        .run(means, OnFailure::Closed)
        .args(["sh", "-c", "echo rea''dy; exec sleep 1000"])
        .spawn_on_terminal();
    pty.wait_line(|line| line == "ready");
    let keeper = site.process("keeper");
    assert_ne!(session(keeper), session(pty.pid()));
    pty.type_keys(Pty::CTRL_C);
    // As the shell shows it: 130.
    assert_eq!(pty.wait(), Status::Killed(2));
    site.assert_untouched();
}

#[test]
fn ctrl_c_ends_the_command_and_steer_as_it_ended_nft() {
    interrupted(Means::RedirectNft);
}

#[test]
fn ctrl_c_ends_the_command_and_steer_as_it_ended_iptables() {
    interrupted(Means::RedirectIptables);
}

#[test]
fn ctrl_c_stops_a_steered_host() {
    lab::require!(Namespaces);
    let site = Site::new("ctrlcup");
    let pty = site
        .up("method: redirect\nscope: { host: true }\n")
        .spawn_on_terminal();
    pty.wait_line(|line| line.contains("in force"));
    pty.type_keys(Pty::CTRL_C);
    assert_eq!(pty.wait(), Status::Exited(0));
    site.assert_untouched();
}

#[test]
fn a_shell_stops_and_continues_a_steered_command() {
    lab::require!(Namespaces, Cgroup2, Program("bash"));
    let site = Site::new("jobs");
    let script = site.write(
        "job",
        &format!(
            "exec {} run -m redirect --name {} -- cat\n",
            steer_tests::steer().display(),
            site.name
        ),
    );
    let pty = site
        .app
        .program("bash")
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "> ")
        .spawn_on_terminal();
    pty.type_keys(&format!("sh {}\n", script.display()));
    let echoed = |word: &str| {
        pty.type_keys(&format!("{word}\n"));
        // Once by the terminal, once by the command.
        pty.wait_stdout(|text| text.matches(word).count() == 2);
    };
    let cat = eventually("the command runs", || child(&site, "cat"));
    echoed("first");
    pty.type_keys(Pty::CTRL_Z);
    pty.wait_stdout(|text| text.contains("Stopped"));
    eventually("the command is stopped", || {
        (state(cat) == Some('T')).then_some(())
    });
    let steered = site.state();
    assert!(steered.changes_since(&site.before()).is_some());
    pty.type_keys("fg\n");
    eventually("the command goes on", || {
        (state(cat) != Some('T')).then_some(())
    });
    echoed("second");
    pty.type_keys(Pty::CTRL_D);
    eventually("the shell is in the foreground", || {
        (pty.foreground_group() == pty.pid()).then_some(())
    });
    pty.type_keys("echo status=$?\n");
    pty.wait_line(|line| line.ends_with("status=0"));
    pty.type_keys("exit 5\n");
    assert_eq!(pty.wait(), Status::Exited(5));
    site.assert_untouched();
}

/// Opens a terminal, starts the words as its session's leader, and closes it.
const HANGS_UP: &str = "\
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said = b''
while b'ready' not in said:
    said += os.read(terminal, 100)
os.close(terminal)
_, status = os.waitpid(child, 0)
print('signal', os.WTERMSIG(status), 'status', os.WEXITSTATUS(status))
";

fn hung_up(site: &Site, command: &[&str]) -> String {
    let words = ["-c", HANGS_UP].map(str::to_owned);
    let steer = steer_tests::steer().display().to_string();
    let run = ["run", "-m", "redirect", "--name", &site.name, "--"];
    let program = site.app.program("python3").args(words).arg(steer);
    let output = program.args(run).args(command).run();
    output.expect_success()
}

#[test]
fn a_terminal_that_hangs_up_ends_command_and_steering() {
    lab::require!(Namespaces, Cgroup2, Program("python3"));
    let site = Site::new("hangup");
    let said = hung_up(&site, &["sh", "-c", "echo ready; exec sleep 1000"]);
    assert_eq!(said, "signal 1 status 0\n");
    site.assert_untouched();
    let script = "trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done";
    assert_eq!(hung_up(&site, &["sh", "-c", script]), "signal 0 status 9\n");
    site.assert_untouched();
}

/// The process of this name in the command's cgroup.
fn child(site: &Site, name: &str) -> Option<i32> {
    let path = site.command_cgroup()?;
    let list = std::fs::read_to_string(path.join("cgroup.procs")).ok()?;
    list.lines()
        .filter_map(|line| line.parse::<i32>().ok())
        .find(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
}

fn session(pid: i32) -> String {
    stat(pid, 3).unwrap_or_else(|| panic!("process {pid} is gone"))
}

fn state(pid: i32) -> Option<char> {
    stat(pid, 0)?.chars().next()
}

/// A field of `/proc/PID/stat`, counted from the state on.
fn stat(pid: i32, field: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split(' ').nth(field).map(str::to_owned)
}
