use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use steer_core::address::ClientAddr;
use steer_core::datagram::{Shared, SharedFlow, SharedLimits, Whole};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::intake::Kind;
use crate::clock::{Clock, SystemClock};
use crate::counters::Throttle;

/// Flows of datagrams to the addresses of names, or to the resolver.
#[derive(Debug)]
pub(super) struct Flows {
    kind: Kind,
    arrived: mpsc::Receiver<Arrived>,
    lost: Arc<Lost>,
    /// One a socket, ended with the intake.
    _readers: JoinSet<()>,
}

/// A flow and the address of ours that it came to.
type Arrived = (SharedFlow<SocketAddr>, SocketAddr);

impl Flows {
    pub(super) fn new(kind: Kind, sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let (arrived_tx, arrived) = mpsc::channel(WAITING_MOST);
        let limits = SharedLimits::default();
        // The bound is that of the listener, whose sockets are many.
        let limits = SharedLimits {
            flows: (limits.flows / sockets.len().max(1)).max(FLOWS_LEAST),
            bytes: (limits.bytes / sockets.len().max(1)).max(BYTES_LEAST),
        };
        let lost = Arc::new(Lost::default());
        let mut readers = JoinSet::new();
        for socket in sockets {
            let local = socket.local_addr()?;
            let shared = Shared::new(socket, Whole, limits)?;
            let arrived_tx = arrived_tx.clone();
            readers.spawn(read(shared, local, arrived_tx, Arc::clone(&lost)));
        }
        Ok(Self {
            kind,
            arrived,
            lost,
            _readers: readers,
        })
    }
}

/// Hands on the flows of one socket until nobody wants them.
async fn read(
    mut shared: Shared,
    local: SocketAddr,
    arrived_tx: mpsc::Sender<Arrived>,
    lost: Arc<Lost>,
) {
    loop {
        match shared.next().await {
            Ok(flow) if !Kind::admits(flow.client()) => {
                lost.stranger(flow.client());
            }
            // While many wait, more are dropped: this task must go on reading for known flows.
            Ok(flow) => match arrived_tx.try_send((flow, local)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => lost.flow(local),
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            Err(error) => {
                tracing::debug!(%error, %local, "no datagrams could be read");
                sleep(PAUSE).await;
            }
        }
    }
}

/// What was dropped since the start.
#[derive(Debug)]
struct Lost {
    flows: AtomicU64,
    strangers: AtomicU64,
    throttle: Throttle,
    clock: SystemClock,
}

impl Default for Lost {
    fn default() -> Self {
        Self {
            flows: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            throttle: Throttle::default(),
            clock: SystemClock::start(),
        }
    }
}

impl Lost {
    /// A flow for which the engine has no time.
    fn flow(&self, local: SocketAddr) {
        let count = self.flows.fetch_add(1, Ordering::Relaxed) + 1;
        if self.throttle.admits(self.clock.now()) {
            tracing::warn!(%local, count, "flows of datagrams are dropped: too many begin at once");
        }
    }

    /// A flow of another host.
    fn stranger(&self, client: SocketAddr) {
        let count = self.strangers.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(%client, count, "a stranger's datagram was dropped");
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        let flows = self.lost.flows.load(Ordering::Relaxed);
        if flows > 0 {
            tracing::info!(flows, "flows of datagrams were dropped in all");
        }
    }
}

#[async_trait]
impl Intake for Flows {
    async fn next(&mut self) -> Option<Steered> {
        let (flow, local) = self.arrived.recv().await?;
        Some(Steered {
            client: ClientAddr(flow.client()),
            destination: self.kind.destination(local),
            flow: Flow::Udp(Box::new(flow)),
            identity: Identity::default(),
            via: Method::Dns,
            upstream: None,
            app: self.kind.app,
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }
}

/// Flows that wait for the engine.
const WAITING_MOST: usize = 256;

const FLOWS_LEAST: usize = 64;

const BYTES_LEAST: usize = 1 << 20;

/// After an error of a socket, so that one that lasts costs little.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn flows_that_nobody_takes_in_time_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let kind = Kind {
            to: None,
            app: None,
        };
        let mut flows = Flows::new(kind, vec![socket]).unwrap();
        let more = 7;
        let clients: Vec<_> = (0..WAITING_MOST + more)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let lost = |flows: &Flows| flows.lost.flows.load(Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(10);
        for (sent, client) in clients.iter().enumerate() {
            client.send_to(b"datagram", at).unwrap();
            // Room in the socket is bounded too.
            while sent % 32 == 31 && flows.arrived.len() < sent.min(WAITING_MOST - 1) {
                assert!(
                    Instant::now() < deadline,
                    "{} of {sent}",
                    flows.arrived.len()
                );
                tokio::task::yield_now().await;
            }
        }
        while lost(&flows) < more as u64 {
            assert!(Instant::now() < deadline, "{}", lost(&flows));
            tokio::task::yield_now().await;
        }
        assert_eq!(lost(&flows), more as u64);
        // Those that wait are not lost.
        for _ in 0..WAITING_MOST {
            flows.next().await.unwrap();
        }
    }
}
