//! Where steered connections come out of a method.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use async_trait::async_trait;

use crate::netns::MakeSockets;
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
    /// What makes further sockets in the namespace, where it is one of the plan's own.
    pub inside: Option<Arc<dyn MakeSockets>>,
}

/// The sockets of a listener.
#[derive(Debug)]
pub enum Sockets {
    /// Listening.
    Tcp(Vec<TcpListener>),
    /// Bound; each datagram comes with the destination that its sender addressed
    /// (IP_RECVORIGDSTADDR).
    Udp(Vec<UdpSocket>),
    /// Listening for code of ours in the program's processes.
    Control(UnixListener),
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
            Self::Control(_) => Ok(Vec::new()),
        }
    }

    /// The listening ones, for a method that has no others.
    ///
    /// # Errors
    /// They take datagrams.
    pub fn streams(self) -> io::Result<Vec<TcpListener>> {
        match self {
            Self::Tcp(sockets) => Ok(sockets),
            Self::Udp(_) | Self::Control(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the method takes connections, and nothing else",
            )),
        }
    }

    /// The control listener, for a method that has nothing else.
    ///
    /// # Errors
    /// They are of the network.
    pub fn control(self) -> io::Result<UnixListener> {
        match self {
            Self::Control(socket) => Ok(socket),
            Self::Tcp(_) | Self::Udp(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the method has no listener in the network",
            )),
        }
    }
}
