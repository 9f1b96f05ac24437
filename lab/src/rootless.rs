//! A test without root, run again as root over namespaces of its own.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use crate::proc::Status;
use crate::program::Program;

/// Why this process may not make and change network namespaces, itself or by [`run_again`].
pub(crate) fn forbidden() -> Option<&'static str> {
    // Root of the machine need not ask.
    let tried = (!is_root()).then(|| FORBIDDEN.as_deref());
    tried.flatten()
}

/// Whether this process is root, here or over namespaces of its own.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this process is root with more users than itself: not only over its own namespaces.
pub(crate) fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    is_root() && count_users(&map) > 1
}

/// Runs the test of this name again, in a process that is root over a user, a network and a
/// mount namespace of its own, and panics with all it said unless it passes.
///
/// `/run` is empty there, so that network namespaces can be named. Of users there is one: root,
/// who is the user of this process outside.
pub(crate) fn run_again(test: &str) {
    assert_ne!(
        test, "main",
        "without root, tests run again by their names, which are those of their threads: \
         allow more than one (--test-threads)"
    );
    let output = this_program()
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .deadline(PATIENCE)
        .run();
    let passed = output.status == Status::Exited(0) && output.stdout.contains(PASSED);
    assert!(
        passed,
        "run again in namespaces of its own: {:?}\n{}\n{}",
        output.status, output.stdout, output.stderr
    );
    // It may have found another need, and said so.
    for line in output.stderr.lines().filter(|it| it.starts_with("SKIPPED")) {
        crate::need::say(line);
    }
}

/// This program, to be run as root over namespaces of its own.
fn this_program() -> Program {
    let exe = std::env::current_exe().expect("a test knows its own program");
    Program::new(exe).in_own_namespaces()
}

fn count_users(map: &str) -> u64 {
    let count = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(count).sum()
}

/// What forbids to make namespaces: tried once a process.
static FORBIDDEN: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut command = this_program().arg("--list").into_command();
    let output = command.output();
    output.err().map(|error| error.to_string())
});

/// The longest test, and room.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the test harness says of one test that was found and has passed.
const PASSED: &str = "test result: ok. 1 passed";

#[cfg(test)]
mod tests {
    use super::count_users;

    #[test]
    fn a_namespace_of_ones_own_has_one_user() {
        assert_eq!(count_users("         0      65534          1\n"), 1);
        assert_eq!(
            count_users("         0          0 4294967295\n"),
            u64::from(u32::MAX)
        );
        assert_eq!(count_users(""), 0);
    }
}
