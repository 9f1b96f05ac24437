//! What becomes of each packet that comes by a device.
//!
//! ```text
//! read ─> segment (tap) ─> parse ─> ends ─> fragments ─┬─> tcp ── other addresses ──> write
//!                                                      ├─> udp ─> flow of the engine
//!                                                      ├─> icmp
//!                                                      └─> refused, counted
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

mod ends;
mod failing;
mod own;
mod run;
mod setup;
mod tcp;

pub use own::Own;
pub use run::{Lane, Running, Side};
pub use setup::Setup;

use ends::Ends;
use tcp::Tcp;

use crate::flows::Flows;
use crate::fragments::Fragments;
use crate::icmp::{Icmp, Unreachable};
use crate::packet::{Counters, Offload, Parsed, Reason, Transport, parse};
use crate::port::is_gone;
use crate::udp::Udp;
use crate::wire::{Hop, Wire};

/// What becomes of each packet that comes by a device; shared by the threads of its queues.
#[derive(Debug)]
pub struct Path {
    ends: Ends,
    tcp: Tcp,
    udp: Arc<Udp>,
    icmp: Icmp,
    fragments: Fragments,
    counters: Arc<Counters>,
}

/// The ways out for what comes in at one place.
#[derive(Clone, Copy, Debug)]
pub struct Ways<'a> {
    /// Whose packets come in there.
    pub side: Side,
    /// The way to the clients.
    pub outer: &'a dyn Wire,
    /// The way to the kernel's own end of connections.
    pub inner: &'a dyn Wire,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy)]
struct Came<'a> {
    ways: &'a Ways<'a>,
    offload: Offload,
    hop: Hop,
    now: Instant,
}

/// Why a packet was not taken.
enum Untaken {
    Refused(Reason),
    Unwritten(io::Error),
}

impl Path {
    /// The same for a link of which this host is a station: what it sends there is refused, as it could
    /// be what the engine itself has sent.
    #[must_use]
    pub fn apart_from(mut self, own: Own) -> Self {
        self.ends.refuse(own);
        self
    }

    /// The connections of TCP.
    #[must_use]
    pub fn flows(&self) -> &Flows {
        self.tcp.flows()
    }

    /// How many packets were not taken.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a packet that came from a hop, or counts why it is not taken. What is in its place
    /// afterwards is of no use.
    ///
    /// # Errors
    /// A device that it was to be written to is gone, and nothing more can be done.
    pub fn take(
        &self,
        ways: &Ways<'_>,
        packet: &mut [u8],
        offload: Offload,
        hop: Hop,
        now: Instant,
    ) -> io::Result<()> {
        let came = Came {
            ways,
            offload,
            hop,
            now,
        };
        match self.steer(&came, packet) {
            Ok(()) => Ok(()),
            Err(Untaken::Refused(reason)) => {
                self.counters.count(reason);
                Ok(())
            }
            Err(Untaken::Unwritten(error)) => {
                self.counters.count(Reason::Unwritten);
                match is_gone(&error) {
                    true => Err(error),
                    false => Ok(()),
                }
            }
        }
    }

    /// Forgets what is over, and looks what has become of its surroundings.
    pub fn sweep(&self, now: Instant) {
        self.ends.refresh();
        self.tcp.flows().sweep(now);
        self.udp.sweep();
        self.fragments.sweep(now);
    }

    fn steer(&self, came: &Came<'_>, packet: &mut [u8]) -> Result<(), Untaken> {
        let parsed = parse(packet)?;
        if self.is_answer(came.ways.side, &parsed) {
            return self.tcp.outward(came, packet, &parsed);
        }
        if came.ways.side == Side::Inner {
            // The kernel's own business at its end of the device (neighbours, multicast groups).
            return Err(Reason::Source.into());
        }
        let is_here = self.ends.check(&parsed, came.hop)?;
        if parsed.fragment.is_some() {
            let Some(mut whole) = self.fragments.add(packet, &parsed, came.now)? else {
                return Ok(());
            };
            let parsed = parse(&whole)?;
            // One in another is nobody's.
            if parsed.fragment.is_some() {
                return Err(Reason::Fragments.into());
            }
            let came = Came {
                offload: Offload::default(),
                ..*came
            };
            return self.hand_on(&came, &mut whole, &parsed, is_here);
        }
        self.hand_on(came, packet, &parsed, is_here)
    }

    /// Sees to a whole packet.
    fn hand_on(
        &self,
        came: &Came<'_>,
        packet: &mut [u8],
        parsed: &Parsed,
        is_here: bool,
    ) -> Result<(), Untaken> {
        let Came {
            ways,
            ref offload,
            hop,
            ..
        } = *came;
        match (parsed.transport, is_here) {
            (Transport::Tcp, true) => {
                tcp::refuse(ways.outer, hop, packet, parsed, Reason::Destination)
            }
            // It has no server of its own.
            (Transport::Udp | Transport::Other(_), true) => {
                self.tell(packet, parsed, hop, Unreachable::Port)
            }
            (_, false) if parsed.hops <= 1 => {
                let errors = self.icmp.errors();
                Err(errors.time_exceeded(packet, parsed, hop).into())
            }
            (Transport::Tcp, false) => self.tcp.inward(came, packet, parsed),
            (Transport::Udp, false) => Ok(self.udp.take(packet, parsed, offload, hop)?),
            (Transport::Icmp, _) => Ok(self.icmp.take(packet, parsed, offload, hop)?),
            (Transport::Other(_), false) => self.tell(packet, parsed, hop, Unreachable::Protocol),
        }
    }

    fn tell(
        &self,
        packet: &[u8],
        parsed: &Parsed,
        hop: Hop,
        why: Unreachable,
    ) -> Result<(), Untaken> {
        Ok(self.icmp.errors().unreachable(packet, parsed, hop, why)?)
    }

    /// Whether a packet comes from the listener, to a client's stand-in.
    fn is_answer(&self, side: Side, parsed: &Parsed) -> bool {
        side != Side::Outer
            && parsed.transport == Transport::Tcp
            && parsed.fragment.is_none()
            && ends::is_listener(parsed.source)
            && ends::is_of_device(parsed.destination)
    }
}

impl From<Reason> for Untaken {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<io::Error> for Untaken {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

#[cfg(test)]
mod tests;
