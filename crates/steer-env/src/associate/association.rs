//! One client's UDP port and the connection that it lives with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use steer_core::address::ClientAddr;
use steer_core::datagram::{Shared, SharedFlow};
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::flow::{AssociateFlow, Live, Word};
use super::header::Target;
use super::sender::Sender;
use super::{Associations, Relay};
use crate::farewell::end_in_order;

/// A client's UDP port. Dropping it closes the port and ends its flows.
#[derive(Debug)]
pub(crate) struct Association {
    all: Associations,
    relay: Relay,
    shared: Shared<Sender>,
    identity: Identity,
    /// Bytes that the client sent on its connection, where none belong.
    ignored: usize,
    /// Flows that found no room with the engine.
    lost: u64,
    /// Datagrams to the proxy's own UDP ports.
    looping: u64,
    _place: OwnedSemaphorePermit,
}

impl Association {
    pub(super) const fn new(
        all: Associations,
        relay: Relay,
        shared: Shared<Sender>,
        identity: Identity,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            all,
            relay,
            shared,
            identity,
            ignored: 0,
            lost: 0,
            looping: 0,
            _place: place,
        }
    }

    /// Where the client has to send to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.relay.at
    }

    /// Passes the client's datagrams on until it ends the connection. When nobody takes new flows
    /// any more, the last ones are waited for.
    pub(crate) async fn run(mut self, control: TcpStream) {
        // Flows end when this is dropped.
        let (_over_tx, over) = watch::channel(());
        let (live, mut live_rx) = mpsc::channel(1);
        let mut live = Some(live);
        let engine = self.all.flow_tx.clone();
        loop {
            tokio::select! {
                biased;
                () = ended(&control, &mut self.ignored) => break,
                () = engine.closed(), if live.is_some() => live = None,
                _ = live_rx.recv(), if live.is_none() => break,
                flow = self.shared.next() => match (flow, &live) {
                    (Ok(flow), Some(live)) => self.begin(flow, &over, live),
                    (Ok(_), None) => {}
                    (Err(error), _) => {
                        tracing::debug!(%error, "a UDP port could not be read");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        tracing::debug!(
            lost = self.lost + self.shared.lost(),
            looping = self.looping,
            "an association is over"
        );
        if let Err(error) = end_in_order(&control) {
            tracing::debug!(%error, "an association ends with a reset");
        }
    }

    fn begin(&mut self, flow: SharedFlow<Target>, over: &Word, live: &Live) {
        let destination = flow.key().destination();
        if self.all.relays.leads_here(&destination) {
            self.looping += 1;
            return;
        }
        let place = Arc::clone(&self.all.flows).try_acquire_owned();
        let (Ok(engine), Ok(place)) = (self.all.flow_tx.try_reserve(), place) else {
            // As UDP allows; the client tries again.
            self.lost += 1;
            return;
        };
        let client = ClientAddr(flow.client());
        let flow = AssociateFlow::new(flow, over.clone(), live.clone(), place);
        engine.send(Steered {
            flow: Flow::Udp(Box::new(flow)),
            client,
            destination,
            identity: self.identity.clone(),
            via: self.all.via,
            upstream: None,
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        });
    }
}

/// Waits until the client ends its connection, or sends more on it than a mistake explains. Cancel
/// safe.
async fn ended(control: &TcpStream, ignored: &mut usize) {
    while *ignored < MOST_IGNORED {
        if control.readable().await.is_err() {
            return;
        }
        match control.try_read(&mut [0; 1024]) {
            Ok(0) => return,
            Ok(count) => *ignored += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Bytes that a client may send on its connection after the request, which nobody reads.
const MOST_IGNORED: usize = 64 << 10;

/// How long an error of the UDP port is waited out.
const PAUSE: Duration = Duration::from_millis(10);
