//! Where steered connections come out of a method.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::socket::{setsockopt, sockopt};

use crate::mark::Mark;
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

    /// Whether it is kept, when nothing more is taken from it, until the connections have ended: what it
    /// holds then keeps what came by it from going another way.
    fn stays(&self) -> bool {
        false
    }
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
    /// What drivers share of what they made, for methods whose listeners need it: duplicates, by the
    /// driver's own names.
    pub shared: Vec<Shared>,
}

/// A descriptor of something that a driver made and the engine uses as well: a map of an eBPF program.
#[derive(Debug)]
pub struct Shared {
    /// The driver's name for it.
    pub label: String,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
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

    /// Sets the mark that no rule of ours steers. What a listening one accepts inherits it; without
    /// one the kernel may give it that of the packet (`net.ipv4.tcp_fwmark_accept`).
    ///
    /// # Errors
    /// It needs CAP_NET_ADMIN over the namespace of the sockets.
    pub fn mark(&self, mark: Mark) -> io::Result<()> {
        let set = |socket: BorrowedFd<'_>| {
            setsockopt(&socket, sockopt::Mark, &mark.value).map_err(io::Error::from)
        };
        match self {
            Self::Tcp(all) => all.iter().try_for_each(|socket| set(socket.as_fd())),
            Self::Udp(all) => all.iter().try_for_each(|socket| set(socket.as_fd())),
            Self::Control(_) => Ok(()),
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
