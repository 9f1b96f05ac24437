//! A connected UDP socket.
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use tokio::io::unix::AsyncFd;

use super::Batch;
use super::transfer::{self, joinable};

/// A connected UDP socket that moves batches.
///
/// Each call of the kernel moves as many datagrams as there are. A receive that finds fewer than it
/// asked for knows that no more are there, so nothing is asked a second time. Only readability is
/// watched: a socket whose writability is watched wakes its task for each datagram that has left.
#[derive(Debug)]
pub struct Connected {
    socket: Arc<UdpSocket>,
    /// The socket in the reactor of whoever asked for datagrams first.
    watched: Option<AsyncFd<Arc<UdpSocket>>>,
    /// How many datagrams the next receive asks for.
    expected: usize,
    /// How often in a row a receive was full.
    full: u8,
    joins: Joins,
    /// Datagrams up to this size are sent several as one.
    joinable: usize,
    /// Whether an error without datagrams wakes the task: the reactor tells of the first one only.
    watches_errors: bool,
    /// Whether the kernel keeps a record of each error.
    records_errors: bool,
}

/// Whether the kernel joins datagrams that came together (UDP_GRO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joins {
    /// Not asked yet.
    NotYet,
    /// It does, for good: what has been joined must be told apart.
    Yes,
    /// It cannot.
    No,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Sent {
    /// Datagrams that left.
    pub datagrams: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What kept others from leaving, other than a full buffer: told by an ICMP error for earlier
    /// ones, or by the kernel for one of these.
    pub error: Option<io::Error>,
}

impl Connected {
    /// Takes over a socket that is connected. It is watched by the runtime in which datagrams are
    /// asked for first, and has to stay there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(socket),
            watched: None,
            expected: FEW,
            full: 0,
            joins: Joins::NotYet,
            joinable: usize::MAX,
            watches_errors: true,
            records_errors: false,
        })
    }

    /// Has the kernel tell of errors that may pass as well, such as a host that is not there for
    /// the moment (IP_RECVERR); otherwise it tells of a port that is closed, and little else.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hear_passing_errors(&mut self) -> io::Result<()> {
        let socket = &*self.socket;
        if socket.local_addr()?.is_ipv4() {
            setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
        }
        self.records_errors = true;
        Ok(())
    }

    /// Drops the kernel's records of errors, which take the room of datagrams.
    fn forget_errors(&self) {
        if self.records_errors {
            transfer::forget_errors(self.socket.as_fd());
        }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Appends what is there to `batch`, at least one datagram.
    ///
    /// # Errors
    /// What ICMP or the kernel told of the peer; the socket can still be used. Or the runtime has
    /// no room for it.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<io::Result<()>> {
        let Self {
            socket, watched, ..
        } = self;
        if watched.is_none() {
            *watched = Some(transfer::watch(Arc::clone(socket))?);
        }
        loop {
            let watched = self.watched.as_ref().expect("it was made");
            let Poll::Ready(guard) = watched.poll_read_ready(cx) else {
                return self.poll_error(cx).map(Err);
            };
            let mut guard = guard?;
            let socket = self.socket.as_fd();
            let received = match self.joins {
                Joins::Yes => transfer::receive_joined(socket, batch, self.expected),
                Joins::NotYet | Joins::No => transfer::receive(socket, batch, self.expected),
            };
            match received {
                Ok(count) => {
                    if count < self.expected {
                        // The queue was empty after it; whatever comes later wakes the task again.
                        guard.clear_ready();
                    }
                    self.adapt(count);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                // Readiness stays: datagrams may be behind the error.
                Err(error) => {
                    self.forget_errors();
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    /// An error that came without datagrams, which the reactor calls a closed way out.
    fn poll_error(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.watches_errors {
            return Poll::Pending;
        }
        // Its result is no matter: the socket is asked itself.
        if let Some(watched) = &self.watched {
            let _ = ready!(watched.poll_write_ready(cx));
        }
        self.watches_errors = false;
        let error = transfer::pending_error(&*self.socket);
        // Behind it, as dropping the record of an error drops the error.
        self.forget_errors();
        match error {
            Some(error) => Poll::Ready(error.into()),
            None => Poll::Pending,
        }
    }

    /// Asks for more where more came; where datagrams come in bulk, has the kernel join them and
    /// gives them more room to wait in.
    fn adapt(&mut self, count: usize) {
        if count < self.expected {
            self.full = 0;
            // Room for growth, so that a full receive stays rare.
            self.expected = (count * 2).clamp(FEW, Batch::MOST);
            return;
        }
        self.expected = Batch::MOST;
        self.full = self.full.saturating_add(1);
        if self.full >= BULK && self.joins == Joins::NotYet {
            self.joins = match setsockopt(&*self.socket, sockopt::UdpGroSegment, &true) {
                Ok(()) => Joins::Yes,
                Err(_) => Joins::No,
            };
            self.widen();
        }
    }

    /// Takes more room for datagrams that wait. Few flows are in bulk; were all to have that much,
    /// they could take the memory that the host has for UDP.
    fn widen(&self) {
        let socket = &*self.socket;
        // More than `net.core.rmem_max`, which is too little for a flow in bulk; where the privilege
        // for it is missing, what the host allows has to do.
        if setsockopt(socket, sockopt::RcvBufForce, &ROOM).is_err()
            && getsockopt(socket, sockopt::RcvBuf).is_ok_and(|room| room < ROOM)
        {
            let _ = setsockopt(socket, sockopt::RcvBuf, &ROOM);
        }
    }

    /// Sends a batch, without waiting: what the buffer has no room for is lost.
    pub fn send(&mut self, batch: &Batch) -> Sent {
        let mut sent = Sent::default();
        let mut at = 0;
        while at < batch.len() {
            let run = joinable(batch, at, self.joinable);
            let socket = self.socket.as_fd();
            let left = if run > 1 {
                match transfer::send_joined(socket, batch, at, at + run) {
                    Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::ENOPROTOOPT) => {
                        // Larger than the link carries, or no link for it: one by one from now on.
                        let size = batch.get(at).map_or(0, <[u8]>::len);
                        self.joinable = size.saturating_sub(1);
                        continue;
                    }
                    result => result.map(|()| run),
                }
            } else {
                let singles = singles(batch, at, self.joinable);
                transfer::send(socket, batch, at, singles)
            };
            match left {
                Ok(count) => {
                    let datagrams = (at..at + count).filter_map(|index| batch.get(index));
                    sent.bytes += datagrams.map(<[u8]>::len).sum::<usize>();
                    sent.datagrams += count;
                    at += count;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                // It is about this one alone.
                Err(error @ Errno::EMSGSIZE) => {
                    self.forget_errors();
                    sent.error = Some(error.into());
                    at += 1;
                }
                Err(error) => {
                    sent.error = Some(error.into());
                    break;
                }
            }
        }
        sent
    }
}

/// Where the datagrams end that go one by one.
fn singles(batch: &Batch, from: usize, longest: usize) -> usize {
    let mut end = from + 1;
    while end < batch.len() && joinable(batch, end, longest) == 1 {
        end += 1;
    }
    end
}

/// How many datagrams a receive asks for at first: enough that one which finds a question and its
/// repetition is not full.
const FEW: usize = 4;

/// How many full receives in a row are bulk.
const BULK: u8 = 2;

/// Room for datagrams that wait where they come in bulk, in bytes; none is taken before it is used.
const ROOM: usize = 1 << 20;

#[cfg(test)]
mod tests;
