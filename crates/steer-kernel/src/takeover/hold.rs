//! Sockets that wait in SYN_SENT for the engine.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockFilter, SockRef, Socket};
use steer_core::address::Family;

use super::{Maker, Target, canonical, errno};

/// A loopback listener that answers no SYN.
#[derive(Debug)]
pub(super) struct Hold {
    maker: Maker,
    /// Kept open: without it the port would refuse.
    _listener: Socket,
    address: SocketAddr,
}

impl Hold {
    pub(super) fn open(maker: Maker, family: Family) -> io::Result<Self> {
        let listener = maker.socket(family)?;
        listener.set_reuse_port(true)?;
        listener.bind(&SocketAddr::new(family.loopback(), 0).into())?;
        // Before it listens: no SYN is ever answered.
        listener.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        listener.listen(1)?;
        let address = canonical(&listener.local_addr()?)?;
        Ok(Self {
            maker,
            _listener: listener,
            address,
        })
    }

    /// Has the program's socket send its SYN.
    pub(super) fn begin(&self, program: &SockRef<'_>, target: Target) -> Result<(), Errno> {
        let address = target.address(self.address.port());
        match program.connect(&address.into()).map_err(errno) {
            Err(Errno::EINPROGRESS) => Ok(()),
            // It is not ours to let it pass.
            Ok(()) => Err(Errno::EISCONN),
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
    let patience = PollTimeout::try_from(PATIENCE).expect("a second is no long time");
    if poll(&mut wait, patience)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    ours.take_error()?.map_or(Ok(()), Err)
}

fn errno_is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// `BPF_RET | BPF_K`: with nothing of the packet left, it is dropped.
const RETURN: u16 = 0x06;

/// How long the kernel may take to open a connection over loopback.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
