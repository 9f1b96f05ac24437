//! How a command ended.

use std::process::exit;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise};

use crate::sys;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Status(i32),
    /// A signal ended it.
    Signal(Signal),
}

impl Exit {
    /// The number that a shell shows: the status, or 128 and the signal.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128 + signal as i32,
        }
    }

    /// Ends this process in the same way, so that whoever waits for it sees no difference.
    ///
    /// Call it last: nothing is dropped and no buffer written.
    pub fn pass_on(self) -> ! {
        if let Self::Signal(signal) = self {
            // The command has dumped its core if it was to; ours tells nothing.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            let _ = sys::process::dispose(signal, SigHandler::SigDfl);
            let mut only = SigSet::empty();
            only.add(signal);
            let _ = only.thread_unblock();
            let _ = raise(signal);
        }
        // Also for a signal that did not end us, of which there is none by default.
        exit(self.code())
    }
}
