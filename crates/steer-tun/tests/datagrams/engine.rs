//! An engine that is every server of datagrams.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use steer_core::address::Destination;
use steer_core::datagram::{Batch, Datagrams};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::steered::{Flow, Refusal};
use steer_tun::intake;
use tokio::runtime::Runtime;

/// Sends back what comes.
pub(crate) const ECHO: u16 = 7;
/// Takes what comes, and says how many bytes of how many datagrams that were, when asked by an empty
/// one.
pub(crate) const COUNT: u16 = 9;
/// Refuses every flow.
pub(crate) const REFUSE: u16 = 500;

/// The ends of each flow, in the order in which they began.
type Seen = Arc<Mutex<Vec<(SocketAddr, SocketAddr)>>>;

/// An engine that answers for every destination.
pub(crate) struct Engine {
    seen: Seen,
    runtime: Option<Runtime>,
}

impl Engine {
    pub(crate) fn start(intent: &Intent, bound: Bound) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let seen = Seen::default();
        let within = runtime.enter();
        let intake = intake::of(intent, bound).unwrap();
        drop(within);
        runtime.spawn(take(intake, Arc::clone(&seen)));
        Self {
            seen,
            runtime: Some(runtime),
        }
    }

    /// The ends of the flows that there were.
    pub(crate) fn seen(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn take(mut intake: Box<dyn Intake>, seen: Seen) {
    while let Some(steered) = intake.next().await {
        let (Destination::Addr(to), Flow::Udp(flow)) = (steered.destination, steered.flow) else {
            continue;
        };
        seen.lock().unwrap().push((steered.client.0, to.addr()));
        tokio::spawn(serve(flow, to.addr().port()));
    }
}

async fn serve(mut flow: Box<dyn Datagrams>, port: u16) {
    let mut batch = Batch::default();
    let (mut count, mut bytes) = (0, 0);
    loop {
        batch.clear();
        if poll_fn(|cx| flow.poll_receive(cx, &mut batch))
            .await
            .is_err()
        {
            return;
        }
        match port {
            ECHO => {
                if flow.send(&batch).is_err() {
                    return;
                }
            }
            COUNT => {
                for datagram in batch.iter() {
                    count += usize::from(!datagram.is_empty());
                    bytes += datagram.len();
                }
                if batch.iter().any(<[u8]>::is_empty) {
                    let mut told = Batch::default();
                    told.push(format!("{count} {bytes}").as_bytes());
                    flow.send(&told).unwrap();
                }
            }
            _ => {
                flow.refuse(Refusal::Refused);
                return;
            }
        }
    }
}
