//! Where steered connections come out of a method.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use async_trait::async_trait;

use crate::object::Listener;
use crate::plan::Netns;
use crate::steered::Steered;

/// What the engine consumes, whichever method delivers.
#[async_trait]
pub trait Intake: fmt::Debug + Send {
    /// The next connection; `None` when there will be no more.
    ///
    /// One connection's failure is not the intake's: it is counted, logged and passed over.
    /// Cancel safe.
    async fn next(&mut self) -> Option<Steered>;
}

/// A listener of a plan with its sockets, one an address.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for, its port filled in.
    pub listener: Listener,
    /// The network namespace that the sockets are in.
    pub netns: Netns,
    /// Nonblocking, close-on-exec sockets in the order of the addresses.
    pub sockets: Sockets,
}

/// The sockets of a listener.
#[derive(Debug)]
pub enum Sockets {
    /// Listening.
    Tcp(Vec<TcpListener>),
    /// Bound; each datagram comes with the destination that its sender addressed
    /// (IP_RECVORIGDSTADDR).
    Udp(Vec<UdpSocket>),
}

impl Sockets {
    /// The addresses that they have.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Tcp(sockets) => sockets.iter().map(TcpListener::local_addr).collect(),
            Self::Udp(sockets) => sockets.iter().map(UdpSocket::local_addr).collect(),
        }
    }

    /// The listening ones, for a method that has no others.
    ///
    /// # Errors
    /// They take datagrams.
    pub fn streams(self) -> io::Result<Vec<TcpListener>> {
        match self {
            Self::Tcp(sockets) => Ok(sockets),
            Self::Udp(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the method takes connections, not datagrams",
            )),
        }
    }
}
