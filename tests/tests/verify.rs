//! `run --verify`: what left past the engine is counted, named, and makes the run fail.

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

#[path = "verify/given.rs"]
mod given;
#[path = "verify/privileged.rs"]
mod privileged;
#[path = "verify/unprivileged.rs"]
mod unprivileged;

use lab::{Output, Program, Status};

/// A command that asks these addresses for a greeting by TCP, and prints it.
fn greeted(at: &[std::net::SocketAddr]) -> Vec<String> {
    let asks = at.iter().map(|at| {
        format!(
            "s = socket.create_connection(('{}', {})); print(s.recv(9).decode()); s.close()\n",
            at.ip(),
            at.port()
        )
    });
    python(&(String::from("import socket\n") + &asks.collect::<String>()))
}

/// A command that sends so many datagrams to an address and waits for no answer.
fn sends(count: u32, at: std::net::SocketAddr) -> Vec<String> {
    python(&format!(
        "import socket\n\
         u = socket.socket(socket.getaddrinfo('{ip}', 9)[0][0], socket.SOCK_DGRAM)\n\
         for _ in range({count}): u.sendto(b'x', ('{ip}', {port}))",
        ip = at.ip(),
        port = at.port(),
    ))
}

fn python(code: &str) -> Vec<String> {
    ["python3", "-c", code].map(str::to_owned).to_vec()
}

/// What was said, by a run that succeeded.
#[track_caller]
fn verified(program: Program) -> String {
    let output = program.run();
    assert_eq!(output.status, Status::Exited(0), "{output:#?}");
    assert!(output.stderr.contains("steer: verified: "), "{output:#?}");
    assert!(!output.stderr.contains("escaped: "), "{output:#?}");
    output.stderr
}

/// Asserts that these packets escaped, and that the run failed for it.
#[track_caller]
fn assert_escaped(output: &Output, lines: &[String]) {
    assert_eq!(output.status, Status::Exited(124), "{output:#?}");
    for line in lines {
        let line = format!("steer: escaped: {line}\n");
        assert!(output.stderr.contains(&line), "{line:?}: {output:#?}");
    }
    assert!(output.stderr.contains("not verified: "), "{output:#?}");
    assert!(!output.stderr.contains("steer: verified"), "{output:#?}");
}
