//! Where sockets are connected to the engine that cannot be by two SYNs that meet.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Socket};
use steer_core::address::Family;

use super::hold::PATIENCE;
use super::{Maker, canonical};

/// A loopback listener for one connection: whoever else comes is reset.
///
/// It lives as long as that takes, so that strangers cannot fill its queue before.
#[derive(Debug)]
pub(super) struct Desk {
    listener: Socket,
    port: u16,
}

impl Desk {
    pub(super) fn open(maker: &Maker, family: Family) -> io::Result<Self> {
        let listener = maker.socket(family)?;
        listener.bind(&SocketAddr::new(family.loopback(), 0).into())?;
        listener.listen(BACKLOG)?;
        let port = canonical(&listener.local_addr()?)?.port();
        Ok(Self { listener, port })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Accepts the program's socket, which is on its way here.
    pub(super) fn accept(&self, program: &SockRef<'_>) -> io::Result<TcpStream> {
        let theirs = canonical(&program.local_addr()?)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) if canonical(&peer)? == theirs => {
                    stream.set_nonblocking(true)?;
                    return Ok(stream.into());
                }
                // A stranger: a port of loopback is open to all.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let mut wait = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
                    let left = PollTimeout::try_from(left).expect("some seconds are no long time");
                    poll(&mut wait, left)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Room for strangers, so that they do not make a program wait.
const BACKLOG: i32 = 128;
