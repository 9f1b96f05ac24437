//! Sockets for dialling.
use std::fmt;
use std::io;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use steer_core::address::Family;
use steer_core::mark::Mark;
use steer_core::netns::{Inside, MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;

/// Makes the sockets that the engine dials with: what keeps them out of the steering is one of
/// these, and the rest of the engine does not know.
pub trait SocketFactory: fmt::Debug + Send + Sync {
    /// A TCP socket, unconnected and nonblocking.
    ///
    /// # Errors
    /// What the kernel says; out of descriptors is told by the error's code.
    fn tcp(&self, family: Family) -> io::Result<Socket>;

    /// A UDP socket, unconnected and nonblocking.
    ///
    /// # Errors
    /// What the kernel says; out of descriptors is told by the error's code.
    fn udp(&self, family: Family) -> io::Result<Socket>;

    /// The mark of its sockets: those that the engine has made elsewhere, for a connection that is
    /// dialled from where its program is, carry it too.
    fn mark(&self) -> Option<Mark>;
}

impl<T: SocketFactory + ?Sized> SocketFactory for Arc<T> {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        (**self).tcp(family)
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        (**self).udp(family)
    }

    fn mark(&self) -> Option<Mark> {
        (**self).mark()
    }
}

/// Sockets as the kernel makes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainSockets;

impl SocketFactory for PlainSockets {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        Socket::new(domain(family), Type::STREAM.nonblocking().cloexec(), None)
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        Socket::new(domain(family), Type::DGRAM.nonblocking().cloexec(), None)
    }

    fn mark(&self) -> Option<Mark> {
        None
    }
}

fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
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

    fn udp(&self, family: Family) -> io::Result<Socket> {
        let socket = PlainSockets.udp(family)?;
        socket.set_mark(self.0.value)?;
        Ok(socket)
    }

    fn mark(&self) -> Option<Mark> {
        Some(self.0)
    }
}

/// Sockets of another factory, made in another network namespace: they dial from there.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use steer_core::address::Family;
/// use steer_core::netns::Inside;
/// use steer_proxy::upstream::{InsideSockets, PlainSockets, SocketFactory};
///
/// let sockets = InsideSockets::new(Inside::here(), PlainSockets);
/// sockets.tcp(Family::V4)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct InsideSockets<T> {
    inside: Inside,
    sockets: Arc<T>,
}

impl<T: SocketFactory + 'static> InsideSockets<T> {
    /// Has `sockets` make its sockets in a namespace.
    pub fn new(inside: Inside, sockets: T) -> Self {
        Self {
            inside,
            sockets: Arc::new(sockets),
        }
    }

    fn make(
        &self,
        make: impl FnOnce(&T) -> io::Result<Socket> + Send + 'static,
    ) -> io::Result<Socket> {
        let sockets = Arc::clone(&self.sockets);
        self.inside.run(move || make(&sockets))?
    }
}

impl<T: SocketFactory + 'static> SocketFactory for InsideSockets<T> {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        self.make(move |sockets| sockets.tcp(family))
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        self.make(move |sockets| sockets.udp(family))
    }

    fn mark(&self) -> Option<Mark> {
        self.sockets.mark()
    }
}

/// Sockets that another process makes in a network namespace of its own: they dial from there.
#[derive(Clone, Debug)]
pub struct MadeSockets {
    inside: Arc<dyn MakeSockets>,
    mark: Option<Mark>,
}

impl MadeSockets {
    /// Has sockets with this mark made.
    #[must_use]
    pub fn new(inside: Arc<dyn MakeSockets>, mark: Mark) -> Self {
        Self {
            inside,
            mark: Some(mark),
        }
    }

    /// Has sockets made that are as those of another factory, but for the place.
    pub(crate) fn like(sockets: &dyn SocketFactory, inside: Arc<dyn MakeSockets>) -> Self {
        Self {
            inside,
            mark: sockets.mark(),
        }
    }

    fn make(&self, family: Family, kind: SocketKind) -> io::Result<Socket> {
        let made = self.inside.make(&SocketWish {
            family,
            kind,
            binding: Binding::Own,
            mark: self.mark,
            bind: None,
        })?;
        Ok(made.into())
    }
}

impl SocketFactory for MadeSockets {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        self.make(family, SocketKind::Stream)
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        self.make(family, SocketKind::Datagram)
    }

    fn mark(&self) -> Option<Mark> {
        self.mark
    }
}
