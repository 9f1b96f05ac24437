//! Where blocking sockets are connected to the engine.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Socket};
use steer_core::address::Family;

use super::hold::PATIENCE;
use super::{Maker, Target, canonical};

/// A loopback listener for one connection at a time: whoever else comes is reset.
#[derive(Debug)]
pub(super) struct Desk {
    listener: Mutex<Socket>,
    port: u16,
    namespace: Option<u64>,
}

impl Desk {
    pub(super) fn open(maker: &Maker, family: Family) -> io::Result<Self> {
        let listener = maker.socket(family)?;
        listener.bind(&SocketAddr::new(family.loopback(), 0).into())?;
        listener.listen(BACKLOG)?;
        Ok(Self {
            port: canonical(&listener.local_addr()?)?.port(),
            namespace: crate::sys::socket::namespace(listener.as_fd()).ok(),
            listener: Mutex::new(listener),
        })
    }

    /// The cookie of the network namespace, where the kernel tells it (5.14).
    pub(super) fn namespace(&self) -> io::Result<u64> {
        Ok(self.namespace.unwrap_or_default())
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Connects the program's socket, whose call waits, to what this gives.
    pub(super) fn meet(&self, program: &SockRef<'_>, target: Target) -> io::Result<TcpStream> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        program.connect(&target.address(self.port).into())?;
        let theirs = canonical(&program.local_addr()?)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match listener.accept() {
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
                    let mut wait = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                    let left = PollTimeout::try_from(left).expect("a second is no long time");
                    poll(&mut wait, left)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Room for strangers, so that they do not make a program wait.
const BACKLOG: i32 = 128;
