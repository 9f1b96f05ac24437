//! Settings that the caller was started with and gives on.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// The signal mask, the ignored signals and the limit of open files of a process, to be given on
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    pub(crate) mask: SigSet,
    pub(crate) ignored: Vec<Signal>,
    pub(crate) files: Files,
}

/// A limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl Inherited {
    /// Reads the settings; call it first in `main`, before any handler is set.
    ///
    /// SIGPIPE is taken as not ignored: Rust's runtime ignores it before `main`, and a command
    /// that gets it ignored would go on writing into a closed pipe.
    pub fn capture() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask))?;
        let status = fs::read_to_string("/proc/self/status")?;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            mask,
            files: Files { soft, hard },
            ignored: ignored(&status)
                .into_iter()
                .filter(|signal| *signal != Signal::SIGPIPE)
                .collect(),
        })
    }

    /// Raises this process's limit of open files as far as it may: a proxy has two a connection.
    /// The command gets the limit as it was.
    pub fn raise_open_files(&self) -> io::Result<()> {
        let Files { soft: _, hard } = self.files;
        Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
    }

    /// Whether the signal was ignored, as under `nohup`.
    pub(super) fn ignores(&self, signal: Signal) -> bool {
        self.ignored.contains(&signal)
    }
}

/// The line `SigIgn`: a bit a signal, signal 1 the lowest; proc_pid_status(5).
fn ignored(status: &str) -> Vec<Signal> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    Signal::iterator()
        .filter(|signal| bits >> (*signal as i32 - 1) & 1 == 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Steps;

    #[test]
    fn ignored_signals_are_the_bits_of_the_status_line() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert_eq!(ignored(status), [Signal::SIGHUP, Signal::SIGPIPE]);
        assert!(ignored("").is_empty());
    }

    #[test]
    fn the_limit_of_open_files_is_raised_for_us_and_not_for_the_command() {
        let inherited = Inherited::capture().unwrap();
        let Files { soft, hard } = inherited.files;
        inherited.raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let args = ["-c", "ulimit -Sn"];
        let mut shell = std::process::Command::new("sh");
        shell.args(args).stdout(std::process::Stdio::piped());
        let (_reader, refused) = io::pipe().unwrap();
        crate::sys::process::prepare(&mut shell, Steps::default(), refused.into(), inherited);
        let said = shell.output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.trim(), soft.to_string());
    }

    #[test]
    fn the_runtime_s_own_sigpipe_is_not_passed_on() {
        let inherited = Inherited::capture().unwrap();
        assert!(!inherited.ignores(Signal::SIGPIPE));
    }
}
