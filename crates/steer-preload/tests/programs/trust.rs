//! Who answers a program: nobody but the engine that steers it.

use std::process::Stdio;

use lab::require;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::engine::{Engine, said};

/// Answers every question with success, under the name of an engine that is gone.
const IMPOSTOR: &str = "
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(chr(0) + sys.argv[1]); listener.listen(9); print('ready', flush=True)
while True:
    line, _ = listener.accept(); line.recv(999)
    try: line.send(bytes([1, 1]) + bytes(30))
    except OSError: pass
";

const PROGRAM: &str = "
import socket, sys
print('ready', flush=True); sys.stdin.readline()
print(socket.socket().connect_ex(('203.0.113.7', 80)))
";

async fn ready(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

/// What a program of one user hears when another has taken the engine's name.
async fn heard(program: u32, impostor: u32) -> String {
    let mut engine = Engine::start(|_| {}).await;
    let library = engine.library();
    let name = library.file_stem().unwrap().to_str().unwrap();
    let mut command = engine.command("python3");
    let (mut program, mut out) = ready(command.args(["-c", PROGRAM]).uid(program)).await;
    engine.kill().await;
    let mut command = Command::new("python3");
    command.args(["-c", IMPOSTOR, name]).uid(impostor);
    let (_impostor, _out) = ready(command.kill_on_drop(true)).await;
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"go\n").await.unwrap();
    let mut said = String::new();
    out.read_to_string(&mut said).await.unwrap();
    program.wait().await.unwrap();
    said
}

#[tokio::test]
async fn another_user_who_takes_the_engine_s_name_is_not_believed() {
    require!(Root, Program("python3"));
    assert_eq!(heard(USER, OTHER).await, "111\n");
    assert_eq!(heard(0, OTHER).await, "111\n");
    // The impostor does answer: those who could trace the program are believed.
    assert_eq!(heard(USER, USER).await, "0\n");
    assert_eq!(heard(USER, 0).await, "0\n");
}

#[tokio::test]
async fn a_user_namespace_of_a_program_s_own_changes_nothing_unless_it_has_no_numbers() {
    require!(Namespaces, Program("python3"), Program("unshare"));
    let engine = Engine::start(|_| {}).await;
    let text = "import socket; print(socket.socket().connect_ex(('203.0.113.7', 80)))";
    for (flag, errno) in [("-Ur", "0"), ("-U", "111")] {
        let mut command = engine.command("unshare");
        command.args([flag, "python3", "-c", text]);
        assert_eq!(said(&mut command).await, errno, "{flag}");
    }
}

const USER: u32 = 61234;
const OTHER: u32 = 64321;
