use std::io;
use std::net::{SocketAddr, UdpSocket};

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

/// Flows of datagrams to the addresses of names, or to the resolver.
#[derive(Debug)]
pub(super) struct Flows {
    kind: Kind,
    arrived: mpsc::Receiver<Arrived>,
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
        let mut readers = JoinSet::new();
        for socket in sockets {
            let local = socket.local_addr()?;
            let shared = Shared::new(socket, Whole, limits)?;
            readers.spawn(read(shared, local, arrived_tx.clone()));
        }
        Ok(Self {
            kind,
            arrived,
            _readers: readers,
        })
    }
}

/// Hands on the flows of one socket until nobody wants them.
async fn read(mut shared: Shared, local: SocketAddr, arrived_tx: mpsc::Sender<Arrived>) {
    loop {
        match shared.next().await {
            Ok(flow) if !Kind::admits(flow.client()) => {
                tracing::debug!(client = %flow.client(), "a stranger's datagram was dropped");
            }
            // While many wait, more are dropped: this task must go on reading for known flows.
            Ok(flow) => match arrived_tx.try_send((flow, local)) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            Err(error) => {
                tracing::debug!(%error, %local, "no datagrams could be read");
                sleep(PAUSE).await;
            }
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
