//! Starting this program again as a process that serves the engine over a socket.

use std::ffi::CStr;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use steer_core::keeper::KeeperError;

use super::process::{again, is_misplaced};
use super::wire::Wire;
use crate::sys;

/// A process that has been started and has not said anything yet.
#[derive(Debug)]
pub(crate) struct Started {
    /// The engine's end of the socket.
    pub(crate) wire: Wire,
    /// Ends with the process.
    pub(crate) life: PipeReader,
    /// Its first stage.
    pub(crate) first: First,
}

/// The stage that starts the process in a session of its own, and ends.
#[derive(Debug)]
pub(crate) struct First(Child);

impl First {
    /// Waits for the stage's end, once the process has answered or has not.
    pub(crate) fn settle(&mut self, answered: bool) {
        let Self(first) = self;
        if !answered {
            // A program that does not become what it was started for would go on as itself.
            let _ = first.kill();
        }
        // It ends as soon as it has started the process; gone already is fine.
        let _ = first.wait();
    }
}

/// Starts this program again; the first stage leaves the engine's session.
pub(crate) fn start(stage: &str, name: &CStr) -> Result<Started, KeeperError> {
    if is_misplaced() {
        // Going on would start this program again and again.
        return Err(lost(
            "the program must call keeper::entry() first in main",
            io::ErrorKind::InvalidInput.into(),
        ));
    }
    if sys::process::is_secure() {
        return Err(lost(
            "a program with set-user-id or file capabilities cannot be its own keeper; run it as root or with ambient capabilities",
            io::ErrorKind::PermissionDenied.into(),
        ));
    }
    begin(stage, name).map_err(|e| lost(START_IT, e))
}

fn begin(stage: &str, name: &CStr) -> io::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    let (life, their_life) = io::pipe()?;
    let first = again(stage, name)
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(their_life))
        .stderr(Stdio::null())
        .spawn()?;
    let wire = Wire::new(ours);
    wire.patience(START_PATIENCE)?;
    Ok(Started {
        wire,
        life,
        first: First(first),
    })
}

pub(crate) fn lost(what: &str, source: io::Error) -> KeeperError {
    KeeperError::Lost {
        what: what.to_owned(),
        source,
    }
}

/// What is attempted by a start.
pub(crate) const START_IT: &str = "start it";
/// How long a process may take to appear on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(10);
