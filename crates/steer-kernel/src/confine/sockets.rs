//! Sockets that are made inside on request.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steer_core::netns::{MakeSockets, SocketWish};

use super::wire::Made;
use crate::keeper::wire::Wire;

/// The engine's side: any thread may ask.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Option<Wire>>);

impl Sockets {
    /// Asks by this socket from here on.
    pub(super) fn connect(&self, socket: OwnedFd) -> io::Result<()> {
        let wire = Wire::new(UnixStream::from(socket));
        wire.patience(PATIENCE)?;
        *self.wire() = Some(wire);
        Ok(())
    }

    /// Nobody is asked any more.
    pub(super) fn close(&self) {
        *self.wire() = None;
    }

    fn wire(&self) -> MutexGuard<'_, Option<Wire>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MakeSockets for Sockets {
    fn make(&self, wanted: &SocketWish) -> io::Result<OwnedFd> {
        let mut held = self.wire();
        let wire = held.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        match ask(wire, wanted) {
            Ok((Made { errno: None }, Some(socket))) => Ok(socket),
            Ok((Made { errno: Some(errno) }, _)) => Err(io::Error::from_raw_os_error(errno)),
            Ok((Made { errno: None }, None)) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => {
                // A late answer would be taken for that to another question.
                *held = None;
                Err(error)
            }
        }
    }
}

fn ask(wire: &mut Wire, wanted: &SocketWish) -> io::Result<(Made, Option<OwnedFd>)> {
    wire.send(wanted, &[])?;
    match wire.receive()? {
        Some((made, fds)) => Ok((made, fds.into_iter().next())),
        None => Err(io::ErrorKind::BrokenPipe.into()),
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
const PATIENCE: Duration = Duration::from_secs(2);
