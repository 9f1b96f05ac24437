//! What comes to a listener for datagrams.
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::unix::AsyncFd;

use super::Batch;
use super::transfer::{Ends, receive_from, watch};
use crate::address::Family;

/// What comes to a listener for datagrams, with both ends of each.
///
/// The destination is the one in the packet as it arrived (IP_RECVORIGDSTADDR): the original one
/// where the packet was steered without being rewritten, the listener's own address where it was.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::net::UdpSocket;
/// use steer_core::datagram::{Arrivals, Ingress};
///
/// let listener = UdpSocket::bind("127.0.0.1:0")?;
/// let to = listener.local_addr()?;
/// let mut ingress = Ingress::new(listener)?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"hello", to)?;
/// let mut arrivals = Arrivals::default();
/// ingress.receive(&mut arrivals).await?;
/// let first = arrivals.iter().next().unwrap();
/// assert_eq!((first.client, first.destination), (client.local_addr()?, Some(to)));
/// assert_eq!(first.datagram, b"hello");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Ingress {
    socket: AsyncFd<UdpSocket>,
    local: SocketAddr,
}

/// Datagrams with their ends; meant to be kept and cleared, as a [`Batch`] is.
#[derive(Debug, Default)]
pub struct Arrivals {
    batch: Batch,
    ends: Vec<Ends>,
    /// The bytes of the room that have been written, or more.
    written: Written,
}

/// What of a room has been written since it was taken.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Slots, of which a page or two are.
    slots: usize,
    /// Bytes beyond these pages.
    beyond: usize,
}

/// One datagram of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub client: SocketAddr,
    /// Where it was addressed to; none where the kernel cannot tell.
    pub destination: Option<SocketAddr>,
    /// What it holds.
    pub datagram: &'a [u8],
}

impl Ingress {
    /// Takes over an unconnected socket; call it within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        // The socket's family rather than the address's: an IPv6 socket may have a mapped one.
        let family = if local.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let original = match family {
            Family::V4 => setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true),
            Family::V6 => setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true),
        };
        if original.is_err() {
            match family {
                Family::V4 => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: watch(socket)?,
            local,
        })
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        self.socket.get_ref()
    }

    /// The address that it is bound to.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Appends what is there, at least one datagram.
    ///
    /// # Errors
    /// What the kernel says; the next call may succeed.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        arrivals: &mut Arrivals,
    ) -> Poll<io::Result<()>> {
        let Arrivals { batch, ends, .. } = arrivals;
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let socket = self.socket.get_ref().as_fd();
            match receive_from(socket, self.local.port(), batch, ends) {
                Ok(count) => {
                    if count < Batch::MOST {
                        // The queue was empty after it; what comes later wakes the task again.
                        guard.clear_ready();
                    }
                    if !ends.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Appends what is there, at least one datagram. Cancel safe.
    ///
    /// # Errors
    /// What the kernel says; the next call may succeed.
    pub async fn receive(&mut self, arrivals: &mut Arrivals) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_receive(cx, arrivals)).await
    }
}

impl Arrivals {
    /// The datagrams, first one first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Arrival<'_>> {
        let ends = self.ends.iter().zip(self.batch.iter());
        ends.map(|((client, destination), datagram)| Arrival {
            client: *client,
            destination: *destination,
            datagram,
        })
    }

    /// The datagram with this number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Arrival<'_>> {
        let (client, destination) = *self.ends.get(index)?;
        Some(Arrival {
            client,
            destination,
            datagram: self.batch.get(index)?,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Drops the datagrams and keeps the room.
    pub fn clear(&mut self) {
        let Self {
            batch,
            ends,
            written,
        } = self;
        written.slots = written.slots.max(batch.len());
        let beyond = batch
            .iter()
            .map(|datagram| datagram.len().saturating_sub(PAGE));
        written.beyond += beyond.sum::<usize>();
        batch.clear();
        ends.clear();
    }

    /// Whether there is room that was taken.
    #[cfg(test)]
    pub(super) fn keeps_room(&self) -> bool {
        self.batch.has_room()
    }

    /// Drops the datagrams, and the room where much of it has been written: for whoever may wait
    /// long for the next one.
    pub fn trim(&mut self) {
        self.clear();
        if self.written.slots * 2 * PAGE + self.written.beyond > KEPT {
            *self = Self::default();
        }
    }
}

/// A page of memory, on most machines.
const PAGE: usize = 4096;

/// Bytes of room that may be kept where nothing comes: those of some small datagrams at a time.
const KEPT: usize = 64 << 10;
