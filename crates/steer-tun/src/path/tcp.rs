//! Segments of TCP, which get other addresses and go on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Came, Untaken};
use crate::flows::{Direction, Flow, Flows, Key};
use crate::packet::{Gso, Offload, Parsed, Reason, Segment, build};
use crate::wire::{Hop, Wire};

/// Segments of TCP between clients and the listener.
#[derive(Debug)]
pub(super) struct Tcp {
    flows: Arc<Flows>,
}

impl Tcp {
    pub(super) const fn new(flows: Arc<Flows>) -> Self {
        Self { flows }
    }

    pub(super) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// A segment from a client.
    pub(super) fn inward(
        &self,
        came: &Came<'_>,
        packet: &mut [u8],
        parsed: &Parsed,
    ) -> Result<(), Untaken> {
        let segment = Segment::read(packet, parsed)?;
        let (client, destination) = segment.ports;
        if client == 0 {
            return Err(Reason::Source.into());
        }
        if destination == 0 {
            return Err(Reason::Destination.into());
        }
        let key = Key::new(
            SocketAddr::new(parsed.source, client),
            SocketAddr::new(parsed.destination, destination),
        );
        let flow = match self.flow_of(key, &segment, came) {
            Ok(flow) => flow,
            Err(reason) => return refuse(came.ways.outer, came.hop, packet, parsed, reason),
        };
        // Of a connection before: a listener that has not heard the first segment would reset this one.
        if !flow.is_answered() && !segment.is(Segment::SYN | Segment::RST) {
            return Err(Reason::NoFlow.into());
        }
        // Where it is that asked first is told by the first segment alone; who moves it knows its numbers.
        if flow.is_own(&segment) {
            flow.is_at(came.hop);
        }
        let way = Way {
            wire: came.ways.inner,
            hop: Hop::Host,
            direction: Direction::In,
        };
        self.pass(&way, &flow, came, packet, parsed, &segment)
    }

    /// A segment from the listener.
    pub(super) fn outward(
        &self,
        came: &Came<'_>,
        packet: &mut [u8],
        parsed: &Parsed,
    ) -> Result<(), Untaken> {
        let segment = Segment::read(packet, parsed)?;
        let (listener, stand_in) = segment.ports;
        let flow = self
            .flows
            .behind(SocketAddr::new(parsed.destination, stand_in));
        // What the listener has yet to say to a client that has reset would reach its next connection.
        let is_open = |flow: &Arc<Flow>| listener == self.flows.port() && !flow.is_reset();
        let Some(flow) = flow.filter(is_open) else {
            return refuse(came.ways.inner, Hop::Host, packet, parsed, Reason::NoFlow);
        };
        let way = Way {
            wire: came.ways.outer,
            hop: flow.hop(),
            direction: Direction::Out,
        };
        self.pass(&way, &flow, came, packet, parsed, &segment)
    }

    /// The connection that a client's segment is of.
    fn flow_of(&self, key: Key, segment: &Segment, came: &Came<'_>) -> Result<Arc<Flow>, Reason> {
        match self.flows.of(&key) {
            Some(ended) if segment.begins() && ended.has_ended() => self.flows.end(&ended),
            Some(flow) if !flow.is_reset() => return Ok(flow),
            Some(_) | None => {}
        }
        match segment.begins() {
            true => self
                .flows
                .begin(key, came.hop, came.now)
                .ok_or(Reason::Full),
            false => Err(Reason::NoFlow),
        }
    }

    fn pass(
        &self,
        way: &Way<'_>,
        flow: &Arc<Flow>,
        came: &Came<'_>,
        packet: &mut [u8],
        parsed: &Parsed,
        segment: &Segment,
    ) -> Result<(), Untaken> {
        let mut offload = came.offload;
        if let Some(gso) = &mut offload.gso {
            if !matches!(gso.kind, Gso::TCP4 | Gso::TCP6) {
                return Err(Reason::Length.into());
            }
            // The kernel allocates as much as it is told in one piece.
            gso.headers = u16::try_from(segment.data).map_err(|_| Reason::Length)?;
        }
        flow.change(way.direction).apply(packet, parsed, &offload)?;
        let is_last = flow.note(way.direction, segment, self.flows.seconds(came.now));
        let whole = packet.get(..parsed.end).ok_or(Reason::Length)?;
        let sent = way.wire.send(way.hop, offload, &[whole]);
        if is_last {
            self.flows.end(flow);
        }
        Ok(sent?)
    }
}

/// Where a segment goes on.
struct Way<'a> {
    wire: &'a dyn Wire,
    hop: Hop,
    direction: Direction,
}

/// Tells the sender of a segment, and nobody else, that it has no connection.
pub(super) fn refuse(
    wire: &dyn Wire,
    hop: Hop,
    packet: &[u8],
    parsed: &Parsed,
    reason: Reason,
) -> Result<(), Untaken> {
    if let Some(reset) = build::reset(packet, parsed) {
        let sent: io::Result<()> = wire.send(hop, Offload::default(), &[&reset]);
        sent?;
    }
    Err(reason.into())
}
