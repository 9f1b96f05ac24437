//! What a test cannot do without, and what happens when it is missing.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use crate::cgroup::cgroup2_mount;
use crate::web::quic_python;

/// Something without which a test proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Effective uid 0 with the capabilities to make namespaces.
    Root,
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A mounted cgroup2 hierarchy in which cgroups can be made.
    Cgroup2,
    /// A path that exists, such as `/dev/net/tun`.
    Path(&'static str),
    /// A Python with aioquic, which `tests/run` makes.
    Quic,
}

impl Need {
    fn is_met(&self) -> bool {
        match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::Program(name) => find_program(name).is_some(),
            Self::Cgroup2 => {
                cgroup2_mount().is_some_and(|path| access(&path, AccessFlags::W_OK).is_ok())
            }
            Self::Path(path) => std::path::Path::new(path).exists(),
            Self::Quic => quic_python().is_some(),
        }
    }

    /// The word that names this need in `STEER_REQUIRE`.
    fn word(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Program(name) => name,
            Self::Cgroup2 => "cgroup2",
            Self::Path(path) => path,
            Self::Quic => "quic",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Program(name) => write!(f, "the program `{name}`"),
            Self::Cgroup2 => f.write_str("a writable cgroup2 hierarchy"),
            Self::Path(path) => write!(f, "the path {path}"),
            Self::Quic => f.write_str("a Python with aioquic (see tests/run)"),
        }
    }
}

/// Says whether all needs are met, and reports loudly on standard error when not.
///
/// With `STEER_REQUIRE=all`, or a comma-separated list that contains the missing need (`root`,
/// `cgroup2`, `quic`, a program's name or a path), a missing need is a panic, so that CI cannot skip by accident.
/// Tests call it through [`require!`](crate::require!), which also leaves the test.
pub fn require(needs: &[Need]) -> bool {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return true;
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
    // Written past the test harness's capture, which would hide it from a passing run.
    let line = format!("SKIPPED {test}: needs {list}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error can be written");
    false
}

/// Leaves the test, loudly, unless every need given is met.
///
/// ```no_run
/// # fn a_test() {
/// lab::require!(Root, Program("nft"));
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
