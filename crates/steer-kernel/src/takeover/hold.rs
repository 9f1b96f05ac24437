//! Sockets that wait in SYN_SENT for the engine.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Socket};
use steer_core::address::Family;

use super::{Maker, Target, canonical};

/// A loopback listener that answers no SYN: nobody accepts, and its queue is full. (A filter of its
/// own on a TCP socket is not everywhere allowed to users without privilege.)
///
/// Strangers change nothing of it: their SYNs are dropped likewise, one that is in the queue stays
/// there, and nobody but this user can bind to the port, from which alone a SYN would be taken.
#[derive(Debug)]
pub(super) struct Hold {
    maker: Maker,
    /// Kept open: without it the port would refuse.
    listener: Socket,
    /// Kept open: without it the queue would have room.
    _filler: Socket,
    address: SocketAddr,
}

impl Hold {
    pub(super) fn open(maker: Maker, family: Family) -> io::Result<Self> {
        let listener = maker.socket(family)?;
        listener.set_reuse_port(true)?;
        listener.bind(&SocketAddr::new(family.loopback(), 0).into())?;
        // Room for one.
        listener.listen(0)?;
        let address = canonical(&listener.local_addr()?)?;
        let filler = maker.socket(family)?;
        match filler.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if errno_is(&error, Errno::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // It is in the queue once its last segment has been taken, which is a moment later. Where a
        // stranger was first, that one fills it.
        let mut arrived = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut arrived, patience())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Self {
            maker,
            listener,
            _filler: filler,
            address,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The cookie of the network namespace, where the kernel tells it (5.14).
    pub(super) fn namespace(&self) -> u64 {
        crate::sys::socket::namespace(self.listener.as_fd()).unwrap_or_default()
    }

    /// Has the program's socket, which is nonblocking, send its SYN.
    pub(super) fn begin(&self, program: &SockRef<'_>, target: Target) -> io::Result<()> {
        match program.connect(&target.address(self.port()).into()) {
            Err(error) if errno_is(&error, Errno::EINPROGRESS) => Ok(()),
            // It is not ours to let it pass.
            Ok(()) => Err(Errno::EISCONN.into()),
            Err(other) => Err(other),
        }
    }

    /// Answers the SYN with one of our own: the program's socket is connected to what this gives.
    pub(super) fn meet(&self, program: &SockRef<'_>) -> io::Result<TcpStream> {
        let ours = self.maker.socket(Family::of(self.address.ip()))?;
        ours.set_reuse_port(true)?;
        ours.bind(&self.address.into())?;
        let theirs = canonical(&program.local_addr()?)?;
        match ours.connect(&theirs.into()) {
            Ok(()) => {}
            Err(error) if errno_is(&error, Errno::EINPROGRESS) => await_open(&ours)?,
            Err(error) => return Err(error),
        }
        if program.peer_addr().is_err() {
            return Err(Errno::ECONNABORTED.into());
        }
        Ok(ours.into())
    }
}

/// The kernel has done all of it by the time that it is asked; only under load a thread of its own
/// does.
fn await_open(ours: &Socket) -> io::Result<()> {
    let mut wait = [PollFd::new(ours.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut wait, patience())? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    ours.take_error()?.map_or(Ok(()), Err)
}

fn patience() -> PollTimeout {
    PollTimeout::try_from(PATIENCE).expect("some seconds are no long time")
}

fn errno_is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// How long the kernel may take to open a connection over loopback: no time, unless the machine has
/// more to do than it can.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
