//! Sockets for dialling.
use std::fmt;
use std::io;

use socket2::{Domain, Socket, Type};
use steer_core::address::Family;
use steer_core::mark::Mark;

/// Makes the sockets that the engine dials with: what keeps them out of the steering is one of
/// these, and the rest of the engine does not know.
pub trait SocketFactory: fmt::Debug + Send + Sync {
    /// A TCP socket, unconnected and nonblocking.
    ///
    /// # Errors
    /// What the kernel says; out of descriptors is told by the error's code.
    fn tcp(&self, family: Family) -> io::Result<Socket>;
}

/// Sockets as the kernel makes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainSockets;

impl SocketFactory for PlainSockets {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)
    }
}

/// Sockets whose packets carry a mark, by which the rules let them pass.
#[derive(Clone, Copy, Debug)]
pub struct MarkedSockets(Mark);

impl MarkedSockets {
    /// Sockets with this mark, if this process may set it.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN or CAP_NET_RAW the kernel refuses.
    pub fn new(mark: Mark) -> io::Result<Self> {
        let sockets = Self(mark);
        // Found out at the start rather than at each dial. The family does not matter to the mark.
        sockets
            .tcp(Family::V4)
            .or_else(|_| sockets.tcp(Family::V6))
            .map(|_| sockets)
    }
}

impl SocketFactory for MarkedSockets {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        let socket = PlainSockets.tcp(family)?;
        socket.set_mark(self.0.value)?;
        Ok(socket)
    }
}
