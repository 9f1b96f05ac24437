//! Flows that share one socket.
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::flow::Quote;
use super::queue::Queue;
use super::transfer::send_to;
use super::{Arrival, Arrivals, Batch, Budget, Datagrams, Ingress, OnRefusal, Unqueued};
use crate::steered::Refusal;

/// How the datagrams of a shared socket are told apart.
pub trait Framing: fmt::Debug + Send + Sync + 'static {
    /// What tells one flow from another.
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync;

    /// The flow that a datagram belongs to, and the part of it that is the program's; `None` drops
    /// it.
    fn flow<'a>(&self, arrival: Arrival<'a>) -> Option<(Self::Key, &'a [u8])>;

    /// What goes before each datagram to the client.
    fn header(&self, key: &Self::Key) -> Vec<u8>;
}

/// No framing: each client is one flow, its datagrams are the program's as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole;

impl Framing for Whole {
    type Key = SocketAddr;

    fn flow<'a>(&self, arrival: Arrival<'a>) -> Option<(SocketAddr, &'a [u8])> {
        Some((arrival.client, arrival.datagram))
    }

    fn header(&self, _key: &SocketAddr) -> Vec<u8> {
        Vec::new()
    }
}

/// The bounds of a shared socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// Flows at once; what would begin another one is lost.
    pub flows: usize,
    /// Bytes that may wait for all flows together.
    pub bytes: usize,
}

impl Default for SharedLimits {
    fn default() -> Self {
        Self {
            flows: 4096,
            bytes: 16 << 20,
        }
    }
}

/// Tells the flows of one socket apart.
///
/// Whoever owns it must go on asking for the next flow, as that is what reads the socket for all.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::net::UdpSocket;
/// use steer_core::datagram::{Batch, Datagrams, Shared, SharedLimits, Whole};
///
/// let port = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"question", port.local_addr()?)?;
/// let mut shared = Shared::new(port, Whole, SharedLimits::default())?;
/// let mut flow = shared.next().await?;
/// assert_eq!(flow.client(), client.local_addr()?);
/// let mut batch = Batch::default();
/// std::future::poll_fn(|cx| flow.poll_receive(cx, &mut batch)).await?;
/// flow.send(&batch)?;
/// let mut answer = [0; 8];
/// client.recv(&mut answer)?;
/// assert_eq!(&answer, b"question");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Shared<F: Framing = Whole> {
    ingress: Ingress,
    arrivals: Arrivals,
    /// The first of the arrivals that was not looked at.
    at: usize,
    socket: Arc<UdpSocket>,
    framing: F,
    flows: Flows<F::Key>,
    limits: SharedLimits,
    budget: Budget,
    lost: u64,
    warned: Option<Instant>,
}

/// The flows that live.
type Flows<K> = Arc<Mutex<HashMap<K, Arc<Queue>>>>;

/// One flow of a shared socket.
pub struct SharedFlow<K: Eq + Hash> {
    key: K,
    client: SocketAddr,
    destination: Option<SocketAddr>,
    header: Vec<u8>,
    queue: Arc<Queue>,
    flows: Flows<K>,
    socket: Arc<UdpSocket>,
    quote: Quote,
    on_refusal: Option<OnRefusal>,
}

impl<F: Framing> Shared<F> {
    /// Takes over an unconnected socket; call it within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: UdpSocket, framing: F, limits: SharedLimits) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(socket.try_clone()?),
            ingress: Ingress::new(socket)?,
            arrivals: Arrivals::default(),
            at: 0,
            framing,
            flows: Flows::default(),
            limits,
            budget: Budget::new(limits.bytes),
            lost: 0,
            warned: None,
        })
    }

    /// The next flow, its first datagram waiting in it; those of known flows are handed out on the
    /// way. Cancel safe.
    ///
    /// # Errors
    /// What the kernel says of the socket; the next call may succeed.
    pub async fn next(&mut self) -> io::Result<SharedFlow<F::Key>> {
        loop {
            while self.at < self.arrivals.len() {
                let flow = self.hand_out(self.at);
                self.at += 1;
                if let Some(flow) = flow {
                    return Ok(flow);
                }
            }
            self.arrivals.clear();
            self.at = 0;
            let (ingress, arrivals) = (&mut self.ingress, &mut self.arrivals);
            poll_fn(|cx| {
                let received = ingress.poll_receive(cx, arrivals);
                if received.is_pending() {
                    arrivals.trim();
                }
                received
            })
            .await?;
        }
    }

    /// Datagrams that were lost because a bound was reached.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Flows that live.
    #[must_use]
    pub fn len(&self) -> usize {
        table(&self.flows).len()
    }

    /// Whether no flow lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hand_out(&mut self, index: usize) -> Option<SharedFlow<F::Key>> {
        let arrival = self.arrivals.get(index)?;
        let (key, datagram) = self.framing.flow(arrival)?;
        let mut flows = table(&self.flows);
        match flows.get(&key).map(|queue| queue.push(datagram)) {
            Some(Ok(())) => return None,
            Some(Err(Unqueued::Over)) | None => {}
            Some(Err(Unqueued::Full)) => {
                self.lost += 1;
                return None;
            }
        }
        let queue = Arc::new(Queue::new(&self.budget));
        if flows.len() >= self.limits.flows || queue.push(datagram).is_err() {
            drop(flows);
            self.refuse_more();
            return None;
        }
        flows.insert(key.clone(), Arc::clone(&queue));
        Some(SharedFlow {
            header: self.framing.header(&key),
            key,
            client: arrival.client,
            destination: arrival.destination,
            queue,
            flows: Arc::clone(&self.flows),
            socket: Arc::clone(&self.socket),
            quote: Quote::default(),
            on_refusal: None,
        })
    }

    fn refuse_more(&mut self) {
        self.lost += 1;
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= WARN_EVERY) {
            self.warned = Some(now);
            tracing::warn!(
                flows = self.limits.flows,
                lost = self.lost,
                "datagrams are lost: too many flows share a port"
            );
        }
    }
}

impl<K: Eq + Hash> SharedFlow<K> {
    /// What tells this flow from the others.
    pub const fn key(&self) -> &K {
        &self.key
    }

    /// Who sends.
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// Where its first datagram was addressed to, as the kernel tells it.
    pub const fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    /// Sets how the client is told of a refusal; without it, it is not.
    #[must_use]
    pub fn on_refusal(mut self, tell: impl FnMut(Refusal, &[u8]) + Send + 'static) -> Self {
        self.on_refusal = Some(Box::new(tell));
        self
    }
}

impl<K: Eq + Hash + fmt::Debug + Send> Datagrams for SharedFlow<K> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        let taken = self.queue.poll_take(cx, batch);
        if taken.is_ready() {
            self.quote.take(batch);
        }
        taken.map(Ok)
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        let mut at = 0;
        while at < batch.len() {
            match send_to(self.socket.as_fd(), self.client, &self.header, batch, at) {
                Ok(count) => at += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                // It is about this one alone.
                Err(Errno::EMSGSIZE) => at += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, why: Refusal) {
        if let Some(tell) = &mut self.on_refusal {
            tell(why, &self.quote.0);
        }
    }
}

impl<K: Eq + Hash> Drop for SharedFlow<K> {
    fn drop(&mut self) {
        self.queue.end();
        let mut flows = table(&self.flows);
        // Another flow may have taken its place.
        if flows
            .get(&self.key)
            .is_some_and(|queue| Arc::ptr_eq(queue, &self.queue))
        {
            flows.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for SharedFlow<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFlow")
            .field("key", &self.key)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

fn table<K>(flows: &Flows<K>) -> MutexGuard<'_, HashMap<K, Arc<Queue>>> {
    // Valid after every statement, so a panic elsewhere leaves nothing half done.
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The least time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
