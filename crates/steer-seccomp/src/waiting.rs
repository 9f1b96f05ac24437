//! Calls that wait for a connect of an earlier call, which a signal ended.

use nix::errno::Errno;

use crate::call::Asked;
use crate::query;

/// A call that waits for a connect of an earlier one.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// Another connect of the socket: it goes on with the first.
    Connect(Asked),
    /// getsockopt(2) of SO_ERROR.
    Error(Asked),
}

impl Waiting {
    /// Lets the call end where a signal waits for its thread; gives it back otherwise.
    pub(crate) fn unless_signalled(self) -> Option<Self> {
        let (Self::Connect(asked) | Self::Error(asked)) = &self;
        if !asked.process.has_signal() {
            return Some(self);
        }
        let (Self::Connect(asked) | Self::Error(asked)) = self;
        asked.notice.interrupt();
        None
    }

    /// Tells how the connect ended.
    pub(crate) fn tell(self, result: Result<(), Errno>) {
        match self {
            Self::Connect(asked) => {
                let _ = asked.notice.answer(result);
            }
            Self::Error(asked) => {
                let _ = query::put_error(asked, result.err());
            }
        }
    }
}
