//! `steer env` as a shell sees it, with a `steer up` beside it in a network namespace of the
//! test's own.

#![cfg(all(feature = "env", feature = "explicit"))]
#![allow(
    clippy::unwrap_used,
    reason = "clippy sees no test in the helpers of a test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use lab::require;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Moves this thread, and what it starts, to a namespace in which 192.0.2.1 is this host.
fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for words in ["link set lo up", "address add 192.0.2.1/32 dev lo"] {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.unwrap().success(), "ip {words}");
    }
}

fn steer(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steer"));
    command.args(arguments).env("STEER_RUN_DIR", folder);
    command
}

/// `steer up`, which ends with its guard.
struct Up(Child);

impl Up {
    /// Starts it and waits until it has its port.
    fn start(arguments: &[&str], folder: &Path) -> Self {
        let arguments = [&["up"], arguments].concat();
        let mut command = steer(&arguments, folder);
        let mut up = Self(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(up.0.stderr.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("listener explicit")));
        assert!(line.is_some(), "steer up says nothing of its port");
        // Nothing that it says later may find a closed pipe.
        std::thread::spawn(move || lines.count());
        up
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// A server of one connection; the handle gives the first line that came.
fn origin() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("192.0.2.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let length = stream.read(&mut head).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        stream.write_all(answer).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        head.lines().next().unwrap_or_default().to_owned()
    });
    (address, served)
}

fn shell(script: &str, folder: &Path) -> Output {
    Command::new("sh")
        .args(["-c", script])
        .env_remove("http_proxy")
        .env("STEER", env!("CARGO_BIN_EXE_steer"))
        .env("STEER_RUN_DIR", folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_shell_that_evaluates_the_variables_sends_its_programs_to_the_port() {
    require!(Namespaces, Program("curl"));
    alone();
    let folder = tempfile::tempdir().unwrap();
    let (log, config) = (folder.path().join("log"), folder.path().join("steer.yaml"));
    let text = "method: explicit\nlisten:\n  explicit: 127.0.0.1:18099\n  auth: { username: ann, \
                password: \"p'w $x\" }\n";
    std::fs::write(&config, text).unwrap();
    let path = config.to_str().unwrap();
    let up = Up::start(&["-c", path, "--log", log.to_str().unwrap()], folder.path());
    let (address, served) = origin();
    let script = format!(
        "eval \"$(\"$STEER\" env -c {path})\" && curl -sS -m 20 http://{address}/ && \
         eval \"$(\"$STEER\" env --unset)\" && env | grep -ci _proxy="
    );
    let output = shell(&script, folder.path());
    assert_eq!(stdout(&output), "ok0\n", "{output:?}");
    assert_eq!(served.join().unwrap(), "GET / HTTP/1.1");
    drop(up);
    let records = std::fs::read_to_string(&log).unwrap();
    assert!(
        records.contains(&format!("\"destination\":\"{address}\"")),
        "{records}"
    );
    assert!(records.contains("\"method\":\"explicit\""), "{records}");
}

#[test]
fn the_default_port_is_taken_only_where_something_accepts() {
    require!(Namespaces, Program("sh"));
    alone();
    let folder = tempfile::tempdir().unwrap();
    let env = || steer(&["env"], folder.path()).output().unwrap();
    let before = env();
    assert!(!before.status.success());
    assert_eq!(stdout(&before), "");
    let told = String::from_utf8_lossy(&before.stderr).into_owned();
    assert!(
        told.contains("there is no explicit port: 127.0.0.1:15080"),
        "{told}"
    );
    assert!(
        told.contains("help: start `steer up -m explicit`"),
        "{told}"
    );
    let _up = Up::start(&["-m", "explicit"], folder.path());
    let line = "export http_proxy='http://127.0.0.1:15080'\n";
    assert!(stdout(&env()).contains(line));
}

#[test]
fn where_there_is_no_explicit_port_that_is_told_and_nothing_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("steer.yaml");
    std::fs::write(&config, "method: redirect\nscope: { host: true }\n").unwrap();
    for (arguments, why) in [
        (["-c", config.to_str().unwrap()], "opens no explicit port"),
        (["--listen", "127.0.0.1:0"], "only when steer has started"),
    ] {
        let arguments = [&["env"][..], &arguments].concat();
        let output = steer(&arguments, folder.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(why) && told.contains("\nhelp: "), "{told}");
        assert_eq!(
            (output.status.success(), stdout(&output)),
            (false, String::new())
        );
    }
}

#[test]
fn options_of_java_that_the_user_has_stay_and_ours_are_added_once() {
    let folder = tempfile::tempdir().unwrap();
    let script = "for i in 1 2; do eval \"$(\"$STEER\" env --listen 127.0.0.1:1)\"; done; \
                  echo \"$JAVA_TOOL_OPTIONS\"; eval \"$(\"$STEER\" env --unset)\"; \
                  echo \"$JAVA_TOOL_OPTIONS\"";
    let script = format!("export JAVA_TOOL_OPTIONS=-Xmx64m; {script}");
    let said = stdout(&shell(&script, folder.path()));
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("-Xmx64m -Dhttp.proxyHost=127.0.0.1 "),
        "{said}"
    );
    assert_eq!(lines[0].matches("-Dhttp.proxyPort=1 ").count(), 1, "{said}");
    assert_eq!(lines[1..], ["-Xmx64m"]);
}
