//! Sockets that are made inside on request.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steer_core::netns::{MakeSockets, SocketWish};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::wire::Made;
use crate::keeper::wire::Wire;

/// The engine's side: any thread may ask.
///
/// The holder answers in microseconds, unless the machine has no time for it: then a worker of a
/// runtime leaves its other tasks to another thread before it waits.
#[derive(Debug)]
pub(super) struct Sockets {
    line: Mutex<Option<Line>>,
    patience: Duration,
}

/// Requests and answers, one at a time.
#[derive(Debug)]
struct Line {
    wire: Wire,
    /// An answer is on its way to somebody who has given up.
    owed: bool,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            line: Mutex::default(),
            patience: PATIENCE,
        }
    }
}

impl Sockets {
    /// Asks by this socket from here on.
    pub(super) fn connect(&self, socket: OwnedFd) -> io::Result<()> {
        let wire = Wire::new(UnixStream::from(socket));
        wire.patience(self.patience)?;
        *self.line() = Some(Line { wire, owed: false });
        Ok(())
    }

    /// Nobody is asked any more.
    pub(super) fn close(&self) {
        *self.line() = None;
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        match self.line.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => {
                apart(|| self.line.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

impl MakeSockets for Sockets {
    fn make(&self, wanted: &SocketWish) -> io::Result<OwnedFd> {
        let until = Instant::now() + self.patience;
        let mut held = self.line();
        let line = held.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        match line.ask(wanted, until) {
            Ok((Made { errno: None }, Some(socket))) => Ok(socket),
            Ok((Made { errno: Some(errno) }, _)) => Err(io::Error::from_raw_os_error(errno)),
            Ok((Made { errno: None }, None)) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
            Err(error) => {
                // Half a message may be left, or nobody is there.
                *held = None;
                Err(error)
            }
        }
    }
}

impl Line {
    fn ask(&mut self, wanted: &SocketWish, until: Instant) -> io::Result<(Made, Option<OwnedFd>)> {
        // Else it would be taken for the answer to this request.
        if self.owed {
            self.answer(until)?;
        }
        self.wire.send(wanted, &[])?;
        self.owed = true;
        self.answer(until)
    }

    /// The next answer; the error is [`io::ErrorKind::TimedOut`] where none has begun in time.
    fn answer(&mut self, until: Instant) -> io::Result<(Made, Option<OwnedFd>)> {
        if !self.is_ready(Instant::now() + USUAL)? && !apart(|| self.is_ready(until))? {
            return Err(Errno::ETIMEDOUT.into());
        }
        let answer = self.wire.receive()?;
        let (made, fds) = answer.ok_or(io::ErrorKind::BrokenPipe)?;
        self.owed = false;
        Ok((made, fds.into_iter().next()))
    }

    fn is_ready(&self, until: Instant) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.wire.as_fd(), PollFlags::POLLIN)];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, left) {
                Err(Errno::EINTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }
}

/// Waits where no task of a runtime has to wait as well.
fn apart<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(wait),
        _ => wait(),
    }
}

/// The holder's side: answers one request, and tells whether the engine is still there.
pub(super) fn answer(wire: &mut Wire) -> io::Result<bool> {
    let Some((wanted, _)) = wire.receive::<SocketWish>()? else {
        return Ok(false);
    };
    match wanted.open() {
        Ok(socket) => wire.send(&Made { errno: None }, &[socket.as_raw_fd()])?,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(nix::libc::EINVAL);
            wire.send(&Made { errno: Some(errno) }, &[])?;
        }
    }
    Ok(true)
}

/// Longer than any pause of a holder that works.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than a holder takes that gets a processor at once.
const USUAL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use socket2::{SockRef, Type};
    use steer_core::address::Family;
    use steer_core::netns::SocketKind;
    use steer_core::object::Binding;

    use super::*;

    fn pair(patience: Duration) -> (Arc<Sockets>, Wire) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sockets = Sockets {
            patience,
            ..Sockets::default()
        };
        sockets.connect(ours.into()).unwrap();
        (Arc::new(sockets), Wire::new(theirs))
    }

    fn wish(kind: SocketKind) -> SocketWish {
        SocketWish {
            family: Family::V4,
            kind,
            binding: Binding::Own,
            mark: None,
            bind: None,
        }
    }

    #[test]
    fn an_answer_that_comes_late_is_not_that_to_another_request() {
        let (sockets, mut holder) = pair(Duration::from_millis(20));
        for _ in 0..2 {
            let error = sockets.make(&wish(SocketKind::Stream)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        // It has been asked once: the second was not sent after one that is still open.
        assert!(answer(&mut holder).unwrap());
        let serving = std::thread::spawn(move || while answer(&mut holder).unwrap() {});
        let made = loop {
            match sockets.make(&wish(SocketKind::Datagram)) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                made => break made.unwrap(),
            }
        };
        assert_eq!(SockRef::from(&made).r#type().unwrap(), Type::DGRAM);
        sockets.close();
        serving.join().unwrap();
    }

    #[test]
    fn a_holder_that_is_gone_is_not_waited_for() {
        let (sockets, holder) = pair(PATIENCE);
        drop(holder);
        for _ in 0..2 {
            let error = sockets.make(&wish(SocketKind::Stream)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_while_one_waits_for_the_holder() {
        let (sockets, mut holder) = pair(PATIENCE);
        let (asks_tx, asks) = tokio::sync::oneshot::channel();
        let answering = tokio::spawn(async move {
            asks.await.unwrap();
            answer(&mut holder)
        });
        let made = tokio::spawn(async move {
            asks_tx.send(()).unwrap();
            sockets.make(&wish(SocketKind::Stream))
        });
        made.await.unwrap().unwrap();
        assert!(answering.await.unwrap().unwrap());
    }
}
