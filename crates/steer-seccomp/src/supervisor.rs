//! The thread that takes the calls of a command.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steer_kernel::seccomp::Call;

use crate::call::Asked;
use crate::connect::connect;
use crate::notice::{Line, Notice};
use crate::office::Office;
use crate::query;
use crate::send::send;

/// The thread that takes the calls of a command. It ends when this is dropped, or when the last
/// process of the command has; calls that come later fail with ENOSYS.
#[derive(Debug)]
pub(crate) struct Supervisor {
    _end: PipeWriter,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts it for a notification descriptor.
    ///
    /// # Errors
    /// No thread or pipe can be made.
    pub(crate) fn start(listener: OwnedFd, office: Arc<Office>) -> io::Result<Self> {
        let (end, ours) = io::pipe()?;
        let line = Line::new(listener);
        let thread = std::thread::Builder::new()
            .name("steer-supervise".to_owned())
            .spawn(move || run(&line, &end, &office))?;
        Ok(Self { _end: ours, thread })
    }

    /// Whether there will be no more calls.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}

fn run(line: &Line, end: &PipeReader, office: &Arc<Office>) {
    loop {
        match wait(line, end) {
            Ok(true) => {}
            Ok(false) => return,
            Err(errno) => return tracing::error!(%errno, "the supervisor cannot wait for calls"),
        }
        match line.next() {
            Ok(Some(notice)) => take(office, notice),
            Ok(None) => {}
            Err(error) => return tracing::error!(%error, "the supervisor gets no more calls"),
        }
    }
}

/// Waits for a call; `false` when there will be none.
fn wait(line: &Line, end: &PipeReader) -> Result<bool, Errno> {
    loop {
        let mut wait = [
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
            PollFd::new(end.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut wait, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let said = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let ended = said(&wait[1]).intersects(PollFlags::POLLIN | PollFlags::POLLHUP);
        let more = said(&wait[0]);
        if ended || is_last(more) {
            return Ok(false);
        }
        // Asked for a call that is not there, the kernel would wait for one.
        if more.contains(PollFlags::POLLIN) {
            return Ok(true);
        }
    }
}

/// Whether no call comes after this: POLLERR says nothing about calls, but that a signal of ours
/// interrupted the kernel while it looked (`seccomp_notify_poll` of kernel/seccomp.c).
fn is_last(said: PollFlags) -> bool {
    said.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL) && !said.contains(PollFlags::POLLIN)
}

fn take(office: &Arc<Office>, notice: Notice) {
    let Some(asked) = Asked::of(notice) else {
        return;
    };
    match asked.call {
        Call::Connect => connect(office, asked),
        Call::Sendto | Call::Sendmsg | Call::Sendmmsg => send(office, asked),
        Call::Getsockopt => query::option(office, asked),
        Call::Getpeername => query::peer(office, asked),
        Call::Socket
        | Call::Socketpair
        | Call::Socketcall
        | Call::IoUringSetup
        | Call::IoUringEnter
        | Call::IoUringRegister => asked.notice.go_on(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_a_signal_interrupted_is_not_the_last() {
        assert!(is_last(PollFlags::POLLHUP));
        assert!(!is_last(PollFlags::POLLERR));
        assert!(!is_last(PollFlags::POLLIN));
        // A call, and the end of its process.
        assert!(!is_last(PollFlags::POLLIN | PollFlags::POLLHUP));
    }
}
