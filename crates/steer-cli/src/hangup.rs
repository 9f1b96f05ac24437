//! What a hang-up means: that the configuration is to be read again, or that the terminal is gone.

use std::fs::{self, File};
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears hang-ups.
#[derive(Debug)]
pub(crate) struct Hangups {
    signal: Signal,
    /// Whether a terminal that is gone ends us: there was one, and nobody told us to outlive it.
    ends: bool,
}

/// What a hang-up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Somebody asks to have the configuration read again.
    Reload,
    /// The terminal that we were started in is gone.
    End,
}

impl Hangups {
    pub(crate) fn listen() -> io::Result<Self> {
        // Before anything is listened to: that replaces what nohup(1) has set.
        let ends = has_terminal() && !is_ignored();
        Ok(Self {
            signal: signal(SignalKind::hangup())?,
            ends,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn recv(&mut self) -> Meaning {
        let Self { signal, ends } = self;
        if signal.recv().await.is_none() {
            // Signals are delivered for as long as the runtime is there.
            std::future::pending().await
        }
        match *ends && !has_terminal() {
            true => Meaning::End,
            false => Meaning::Reload,
        }
    }
}

/// Whether there is a controlling terminal; one that hangs up is nobody's any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether hang-ups are ignored, as nohup(1) has it.
fn is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP != 0)
}

/// SIGHUP in a mask of signals (proc(5)).
const HANGUP: u64 = 1;
