//! Datagrams: from packets to flows of the engine, and back.
//!
//! ```text
//! packet ─> header ─> flow of its two ends ─┬─ known ─> its queue ─> engine
//!                                           └─ first ─> Steered ──> intake
//! engine ─> flow ─> out ─> the hop that the client's last packet came from
//! ```

mod flow;
mod header;
mod table;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use steer_core::address::{ClientAddr, Destination, OrigDst};
use steer_core::datagram::{Batch, Budget, QueuedDatagrams, Unqueued};
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::icmp::Errors;
use crate::out::Out;
use crate::packet::{Gso, Offload, Parsed, Reason};
use crate::wire::Hop;

use flow::{Ends, State};
use header::Datagram;
use table::{Entry, Table};

/// The flows of datagrams of a device.
pub struct Udp {
    table: Table,
    budget: Budget,
    via: Method,
    new_flows: mpsc::Sender<Steered>,
    out: Arc<Out>,
    errors: Arc<Errors>,
}

/// How much there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpLimits {
    /// Flows.
    pub flows: usize,
    /// Flows of one source address.
    pub source: usize,
    /// Bytes that wait for all flows together.
    pub waiting: usize,
}

impl Default for UdpLimits {
    fn default() -> Self {
        Self {
            flows: 65_536,
            source: 16_384,
            waiting: 16 << 20,
        }
    }
}

impl Udp {
    /// No flows yet. Each that begins is handed to `new_flows`, without an identity.
    #[must_use]
    pub fn new(
        limits: UdpLimits,
        via: Method,
        new_flows: mpsc::Sender<Steered>,
        out: Arc<Out>,
        errors: Arc<Errors>,
    ) -> Self {
        Self {
            table: Table::new(limits),
            budget: Budget::new(limits.waiting),
            via,
            new_flows,
            out,
            errors,
        }
    }

    /// Takes a packet of UDP that is no fragment, and whose addresses programs can have.
    ///
    /// # Errors
    /// Why it is not taken; of one that stands for several, some may be.
    pub fn take(
        &self,
        packet: &[u8],
        parsed: &Parsed,
        offload: &Offload,
        hop: Hop,
    ) -> Result<(), Reason> {
        let Datagram { from, to, payload } = header::read(packet, parsed, offload)?;
        let ends = Ends {
            client: SocketAddr::new(parsed.source, from),
            destination: SocketAddr::new(parsed.destination, to),
        };
        let size = match offload.gso {
            Some(Gso {
                kind: Gso::UDP,
                size,
                ..
            }) => usize::from(size),
            Some(_) => return Err(Reason::Length),
            None => payload.len(),
        };
        if payload.is_empty() {
            return self.hand_in(ends, hop, payload);
        }
        let mut taken = Ok(());
        for datagram in payload.chunks(size.max(1)) {
            taken = taken.and(self.hand_in(ends, hop, datagram));
        }
        taken
    }

    /// Forgets the flows that the engine has ended; to be called now and then.
    pub fn sweep(&self) {
        self.table.sweep();
    }

    /// How many flows are remembered.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Bytes that wait for flows.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.budget.taken()
    }

    /// A link on the way of our datagrams to a client carries no longer packets than that.
    ///
    /// # Errors
    /// There is no such flow.
    pub(crate) fn narrow(
        &self,
        client: SocketAddr,
        destination: SocketAddr,
        longest: usize,
    ) -> Result<(), Reason> {
        let state = self.table.find(&Ends {
            client,
            destination,
        });
        state.ok_or(Reason::Icmp)?.narrow(longest);
        Ok(())
    }

    /// The client itself has said that nobody takes our datagrams there.
    ///
    /// # Errors
    /// There is no such flow.
    pub(crate) fn gone(&self, client: SocketAddr, destination: SocketAddr) -> Result<(), Reason> {
        let state = self.table.find(&Ends {
            client,
            destination,
        });
        state.ok_or(Reason::Icmp)?.end();
        Ok(())
    }

    fn hand_in(&self, ends: Ends, hop: Hop, datagram: &[u8]) -> Result<(), Reason> {
        let mut begun = None;
        let entry = self.table.entry(ends, || {
            let (entry, steered) = self.begin(ends, hop);
            begun = Some(steered);
            entry
        })?;
        entry.state.seen(hop);
        let pushed = entry.way_in.push(datagram).map_err(|why| match why {
            Unqueued::Full => Reason::Full,
            // It ended between the two lines above: the next datagram begins another one.
            Unqueued::Over => Reason::NoFlow,
        });
        let Some(steered) = begun else {
            return pushed;
        };
        // What is not handed over is dropped, by which the flow is over.
        let handed = pushed.and_then(|()| match self.new_flows.try_send(steered) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Reason::Full),
            Err(TrySendError::Closed(_)) => Err(Reason::NoFlow),
        });
        if handed.is_err() {
            self.table.drop_stillborn(&ends);
        }
        handed
    }

    fn begin(&self, ends: Ends, hop: Hop) -> (Entry, Steered) {
        let Ends {
            client,
            destination,
        } = ends;
        let state = Arc::new(State::new(hop));
        let (out, of_flow) = (Arc::clone(&self.out), Arc::clone(&state));
        let send = move |batch: &Batch| {
            let narrow = of_flow.longest()?;
            out.datagrams(of_flow.hop(), destination, client, narrow, batch.iter())
        };
        let (errors, of_flow) = (Arc::clone(&self.errors), Arc::clone(&state));
        let refuse = move |why, quote: &[u8]| {
            errors.refuse(of_flow.hop(), client, destination, why, quote);
        };
        let (flow, way_in) = QueuedDatagrams::new(&self.budget, send);
        let steered = Steered {
            flow: Flow::Udp(Box::new(flow.on_refusal(refuse))),
            client: ClientAddr(client),
            destination: Destination::Addr(OrigDst::new(destination)),
            identity: Identity::default(),
            via: self.via,
            upstream: None,
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        };
        let state = Arc::clone(&state);
        (Entry { state, way_in }, steered)
    }

    /// How many flows a source has.
    #[cfg(test)]
    fn of_source(&self, source: std::net::IpAddr) -> usize {
        self.table.of_source(source)
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("flows", &self.flows())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
