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
mod run;
mod tcp;

pub use run::{Lane, Running, Side};

use tcp::Tcp;

use crate::flows::Flows;
use crate::packet::{Counters, Offload, Parsed, Reason, Transport, parse};
use crate::port::is_gone;
use crate::wire::{Hop, Wire};

/// What becomes of each packet that comes by a device; shared by the threads of its queues.
#[derive(Debug)]
pub struct Path {
    tcp: Tcp,
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

/// Why a packet was not taken.
enum Untaken {
    Refused(Reason),
    Unwritten(io::Error),
}

impl Path {
    /// A path for the connections of a table.
    #[must_use]
    pub fn new(flows: Arc<Flows>, counters: Arc<Counters>) -> Self {
        Self {
            tcp: Tcp::new(flows),
            counters,
        }
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
        match self.steer(ways, packet, offload, hop, now) {
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

    /// Forgets what is over.
    pub fn sweep(&self, now: Instant) {
        self.tcp.flows().sweep(now);
    }

    fn steer(
        &self,
        ways: &Ways<'_>,
        packet: &mut [u8],
        offload: Offload,
        hop: Hop,
        now: Instant,
    ) -> Result<(), Untaken> {
        let parsed = parse(packet)?;
        if self.is_answer(ways.side, &parsed) {
            return self.tcp.outward(ways, packet, &parsed, offload, now);
        }
        if ways.side == Side::Inner {
            // The kernel's own business at its end of the device (neighbours, multicast groups).
            return Err(Reason::Source.into());
        }
        ends::check(&parsed, hop)?;
        match (parsed.fragment, parsed.transport) {
            (None, Transport::Tcp) => self.tcp.inward(ways, packet, &parsed, offload, hop, now),
            (Some(_), _) => Err(Reason::Fragments.into()),
            (None, _) => Err(Reason::Protocol.into()),
        }
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
