//! What a test cannot do without, and what happens when it is missing.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use crate::cgroup::cgroup2_mount;
use crate::guest;
use crate::rootless;
use crate::web::{grpc_python, quic_python};

/// Something without which a test proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Network namespaces that can be made and changed: root, or user namespaces, in which the
    /// test runs again as root over its own.
    Namespaces,
    /// Root of the machine: other users, its cgroups, its container engines.
    Root,
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A mounted cgroup2 hierarchy in which cgroups can be made.
    Cgroup2,
    /// A path that exists, such as `/dev/net/tun`.
    Path(&'static str),
    /// A Python with aioquic, which `tests/run` makes.
    Quic,
    /// A Python with grpcio, which `tests/run` makes.
    Grpc,
    /// A kernel for a virtual machine, which `tests/run` fetches, and what runs it.
    Guest,
}

impl Need {
    fn is_met(&self) -> bool {
        match self {
            Self::Namespaces => rootless::forbidden().is_none(),
            Self::Root => rootless::has_users(),
            Self::Program(name) => find_program(name).is_some(),
            Self::Cgroup2 => {
                cgroup2_mount().is_some_and(|path| access(&path, AccessFlags::W_OK).is_ok())
            }
            Self::Path(path) => std::path::Path::new(path).exists(),
            Self::Quic => quic_python().is_some(),
            Self::Grpc => grpc_python().is_some(),
            Self::Guest => guest::kernel().is_some(),
        }
    }

    /// The word that names this need in `STEER_REQUIRE`.
    fn word(&self) -> &str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Root => "root",
            Self::Program(name) => name,
            Self::Cgroup2 => "cgroup2",
            Self::Path(path) => path,
            Self::Quic => "quic",
            Self::Grpc => "grpc",
            Self::Guest => "guest",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces => {
                let why = rootless::forbidden().unwrap_or("there are");
                write!(f, "root or user namespaces ({why})")
            }
            Self::Root => f.write_str("root of the machine"),
            Self::Program(name) => write!(f, "the program `{name}`"),
            Self::Cgroup2 => f.write_str("a writable cgroup2 hierarchy"),
            Self::Path(path) => write!(f, "the path {path}"),
            Self::Quic => f.write_str("a Python with aioquic (see tests/run)"),
            Self::Grpc => f.write_str("a Python with grpcio (see tests/run)"),
            Self::Guest => f.write_str(
                "a kernel for a guest (see tests/run), qemu-system-x86_64, busybox and /dev/net/tun",
            ),
        }
    }
}

/// Says whether the calling test is to go on, and reports loudly on standard error when a need
/// is not met.
///
/// Where namespaces are needed and this process is not root, the test runs again in a process
/// that is root over namespaces of its own, and has nothing left to do here when it has passed;
/// when it has not, this panics.
///
/// With `STEER_REQUIRE=all`, or a comma-separated list that contains the missing need (`root`,
/// `namespaces`, `cgroup2`, `quic`, `grpc`, `guest`, a program's name or a path), a missing need is a
/// panic, so that CI cannot skip by accident.
/// Tests call it through [`require!`](crate::require!), which also leaves the test.
pub fn require(needs: &[Need]) -> bool {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        let again = needs.contains(&Need::Namespaces) && !rootless::is_root();
        if again {
            rootless::run_again(std::thread::current().name().unwrap_or_default());
        }
        return !again;
    }
    let list = missing
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let forced = std::env::var("STEER_REQUIRE").unwrap_or_default();
    let is_forced = |need: &Need| {
        forced
            .split(',')
            .any(|word| word.trim() == "all" || word.trim() == need.word())
    };
    if missing.iter().any(|need| is_forced(need)) {
        panic!("{test} needs {list}, and STEER_REQUIRE={forced} forbids to skip it");
    }
    say(&format!("SKIPPED {test}: needs {list}"));
    false
}

/// Writes a line past the test harness's capture, which would hide it from a passing run.
pub(crate) fn say(line: &str) {
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .expect("standard error can be written");
}

/// Leaves the test, loudly, unless every need given is met.
///
/// ```no_run
/// # fn a_test() {
/// lab::require!(Namespaces, Program("nft"));
/// # }
/// ```
#[macro_export]
macro_rules! require {
    ($($kind:ident $(($argument:expr))?),+ $(,)?) => {
        if !$crate::require(&[$($crate::Need::$kind $(($argument))?),+]) {
            return;
        }
    };
}

/// The first executable of this name in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_by_what_exists_alone() {
        assert!(Need::Program("sh").is_met());
        assert!(!Need::Program("no-such-program-anywhere").is_met());
        assert!(Need::Path("/proc/self/fd").is_met());
        assert!(!Need::Path("/proc/self/no-such-file").is_met());
    }
}
