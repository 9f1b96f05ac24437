//! A call that waits for its answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use steer_kernel::seccomp::{Abi, Call};

use crate::process::Process;
use crate::sys;

/// The descriptor by which the calls of a command come.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<OwnedFd>);

/// A call that waits for its answer. Dropped without one, it fails with ECONNREFUSED.
#[derive(Debug)]
#[must_use = "a call that is not answered fails when this is dropped"]
pub(crate) struct Notice {
    line: Line,
    id: u64,
    /// The thread that made it; 0 where it is none of ours to see.
    pub(crate) thread: u32,
    pub(crate) abi: Abi,
    pub(crate) call: Call,
    pub(crate) args: [u64; 6],
    answered: bool,
}

/// Whether an answer reached the call. A signal ends a call, and so does the end of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Delivery {
    Done,
    Lost,
}

impl Line {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        // An optimisation of Linux 6.6.
        let _ = sys::wake_here(listener.as_fd());
        Self(Arc::new(listener))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next call; `None` where it was over before it could be read.
    ///
    /// # Errors
    /// There will be no more.
    pub(crate) fn next(&self) -> io::Result<Option<Notice>> {
        let told = match sys::receive(self.as_fd()) {
            Ok(told) => told,
            Err(Errno::ENOENT | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let libc::seccomp_notif { id, pid, data, .. } = told;
        let mut notice = Notice {
            line: self.clone(),
            id,
            thread: pid,
            abi: Abi::Native,
            call: Call::Connect,
            args: data.args,
            answered: false,
        };
        match Abi::read(data.arch, data.nr) {
            Some((abi, call)) => {
                notice.abi = abi;
                notice.call = call;
                Ok(Some(notice))
            }
            // Not of our filter.
            None => {
                notice.go_on();
                Ok(None)
            }
        }
    }
}

impl Notice {
    /// Whether the call still waits: then what was read of its thread was really that thread's.
    pub(crate) fn is_waiting(&self) -> bool {
        sys::is_waiting(self.line.as_fd(), self.id)
    }

    /// Whether a signal waits for its thread.
    pub(crate) fn is_signalled(&self) -> bool {
        Process::of(self.thread).has_signal()
    }

    /// The kernel makes the call, with its arguments as they are by then.
    pub(crate) fn go_on(mut self) {
        let go_on = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).expect("a bit of 32");
        let _ = self.respond(0, 0, go_on);
    }

    /// The call gives this.
    pub(crate) fn answer(mut self, result: Result<(), Errno>) -> Delivery {
        let error = match result {
            Ok(()) => 0,
            Err(errno) => -(errno as i32),
        };
        self.respond(0, error, 0)
    }

    /// The call fails.
    pub(crate) fn fail(self, errno: Errno) -> Delivery {
        self.answer(Err(errno))
    }

    /// A signal ends the call, which is made again or fails with EINTR, as the program has it.
    ///
    /// Only where a signal waits for the thread: the kernel then takes the number for its own
    /// (`ERESTARTSYS` of linux/errno.h), and no program ever sees it.
    pub(crate) fn interrupt(mut self) {
        let _ = self.respond(0, -ERESTARTSYS, 0);
    }

    fn respond(&mut self, val: i64, error: i32, flags: u32) -> Delivery {
        self.answered = true;
        let response = libc::seccomp_notif_resp {
            id: self.id,
            val,
            error,
            flags,
        };
        match sys::respond(self.line.as_fd(), &response) {
            Ok(()) => Delivery::Done,
            Err(errno) => {
                tracing::trace!(%errno, "an answer came too late for its call");
                Delivery::Lost
            }
        }
    }
}

const ERESTARTSYS: i32 = 512;

impl Drop for Notice {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.respond(0, -(Errno::ECONNREFUSED as i32), 0);
        }
    }
}
