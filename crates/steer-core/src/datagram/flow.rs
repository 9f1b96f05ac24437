//! A flow with a socket of its own.
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::Queue;
use super::{Batch, Budget, Connected, Datagrams, Unqueued};
use crate::steered::Refusal;

/// How a method tells a client why its datagrams go nowhere; gets the beginning of its last one.
///
/// Called in the engine's task, so it may not block: sending on a raw socket is fine.
pub type OnRefusal = Box<dyn FnMut(Refusal, &[u8]) + Send>;

/// A flow with a socket of its own: bound to the destination, connected to the client.
///
/// Brings what came before the socket existed: the datagrams that began the flow, and stragglers,
/// which the listener got while the socket was being made and hands in by [`Stragglers`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::net::UdpSocket;
/// use steer_core::datagram::{Batch, Budget, Datagrams, SocketDatagrams};
///
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// socket.connect(client.local_addr()?)?;
/// let (mut flow, stragglers) = SocketDatagrams::new(socket, &Budget::new(1 << 20))?;
/// stragglers.push(b"question").unwrap();
/// let mut batch = Batch::default();
/// std::future::poll_fn(|cx| flow.poll_receive(cx, &mut batch)).await?;
/// assert_eq!(batch.get(0), Some(&b"question"[..]));
/// flow.send(&batch)?;
/// # Ok(()) }
/// ```
pub struct SocketDatagrams {
    socket: Connected,
    early: Arc<Queue>,
    quote: Quote,
    on_refusal: Option<OnRefusal>,
}

/// The way for datagrams of a flow that came to another socket than the flow's own.
///
/// Its size is bounded; a method keeps it in its table for as long as the listener may still get
/// some, and forgets it once a push says that the flow is over.
#[derive(Clone, Debug)]
pub struct Stragglers(pub(super) Arc<Queue>);

impl SocketDatagrams {
    /// A flow on a connected socket. The first datagrams are handed in as stragglers, for which the
    /// budget has room. The runtime that asks for datagrams first watches the socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: UdpSocket, budget: &Budget) -> io::Result<(Self, Stragglers)> {
        let early = Arc::new(Queue::new(budget));
        let stragglers = Stragglers(Arc::clone(&early));
        let flow = Self {
            socket: Connected::new(socket)?,
            early,
            quote: Quote::default(),
            on_refusal: None,
        };
        Ok((flow, stragglers))
    }

    /// Sets how the client is told of a refusal; without it, it is not.
    #[must_use]
    pub fn on_refusal(mut self, tell: impl FnMut(Refusal, &[u8]) + Send + 'static) -> Self {
        self.on_refusal = Some(Box::new(tell));
        self
    }
}

impl Stragglers {
    /// Hands in a datagram of the flow.
    ///
    /// # Errors
    /// It was not taken, and why.
    pub fn push(&self, datagram: &[u8]) -> Result<(), Unqueued> {
        self.0.push(datagram)
    }

    /// Whether the flow is over: it takes nothing more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

impl Datagrams for SocketDatagrams {
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        let known = batch.len();
        let received = if self.early.poll_take(cx, batch).is_ready() {
            Poll::Ready(Ok(()))
        } else {
            self.socket.poll_receive(cx, batch)
        };
        if batch.len() > known {
            self.quote.take(batch);
        }
        received
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        match self.socket.send(batch).error {
            // One datagram does not fit on the way to the client; the client is still there.
            Some(error) if error.raw_os_error() != Some(nix::errno::Errno::EMSGSIZE as i32) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, why: Refusal) {
        if let Some(tell) = &mut self.on_refusal {
            tell(why, &self.quote.0);
        }
    }
}

impl Drop for SocketDatagrams {
    fn drop(&mut self) {
        self.early.end();
    }
}

impl fmt::Debug for SocketDatagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketDatagrams")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The beginning of the client's last datagram, for an ICMP error to quote.
#[derive(Debug, Default)]
pub(super) struct Quote(pub(super) Vec<u8>);

impl Quote {
    pub(super) fn take(&mut self, batch: &Batch) {
        if let Some(last) = batch
            .len()
            .checked_sub(1)
            .and_then(|index| batch.get(index))
        {
            self.0.clear();
            self.0.extend_from_slice(&last[..last.len().min(QUOTED)]);
        }
    }
}

/// What an ICMP error has room for: 576 bytes with two IP headers that may have options (RFC 1812,
/// section 4.3.2.3), its own and that of UDP.
const QUOTED: usize = 440;

#[cfg(test)]
mod tests;
