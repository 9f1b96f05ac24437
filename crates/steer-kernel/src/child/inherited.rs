//! Signal settings that the caller was started with.

use std::fs;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// The signal mask and the ignored signals of a process, to be given on unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    pub(super) mask: SigSet,
    pub(super) ignored: Vec<Signal>,
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
        Ok(Self {
            mask,
            ignored: ignored(&status)
                .into_iter()
                .filter(|signal| *signal != Signal::SIGPIPE)
                .collect(),
        })
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

    #[test]
    fn ignored_signals_are_the_bits_of_the_status_line() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert_eq!(ignored(status), [Signal::SIGHUP, Signal::SIGPIPE]);
        assert!(ignored("").is_empty());
    }

    #[test]
    fn the_runtime_s_own_sigpipe_is_not_passed_on() {
        let inherited = Inherited::capture().unwrap();
        assert!(!inherited.ignores(Signal::SIGPIPE));
    }
}
