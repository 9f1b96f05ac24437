//! ICMP: what asks whether somebody is there, and what tells of packets that did not arrive.
//!
//! ```text
//! echo request ─┬─ answered, as if by its destination
//!               ├─ forward ─> the destination's answer, or a router's error
//!               └─ refused
//! error ── what it quotes ─┬─ of TCP ─> the same about the engine's own connection
//!                          └─ of UDP ─> its flow
//! ```

mod allowance;
mod errors;
mod forward;
mod quoted;
mod translate;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use steer_core::address::Family;
use steer_core::intent::Echo;

use crate::out::Out;
use crate::packet::build::{Ends, Message, icmp};
use crate::packet::{Offload, Parsed, Reason, Transport, checksum};
use crate::udp::Udp;
use crate::wire::Hop;

pub use errors::{Errors, Unreachable};
pub use forward::{Forward, RawSockets};
pub use translate::{Find, Inner, Inside};

/// What takes ICMP packets of a device.
pub struct Icmp {
    echo: Echo,
    /// Addresses of the engine on the link, which answer for themselves.
    here: Vec<IpAddr>,
    out: Arc<Out>,
    errors: Arc<Errors>,
    forward: Option<Arc<Forward>>,
    inside: Inside,
    udp: Arc<Udp>,
}

/// What an [`Icmp`] works with.
pub struct IcmpSetup {
    /// What becomes of echo requests.
    pub echo: Echo,
    /// Addresses of the engine on the link, which answer for themselves.
    pub here: Vec<IpAddr>,
    /// The way to the stations.
    pub out: Arc<Out>,
    /// What tells them of errors.
    pub errors: Arc<Errors>,
    /// What forwards echo requests, where that is wanted; without it they are answered.
    pub forward: Option<Arc<Forward>>,
    /// The engine's side of connections.
    pub inside: Inside,
    /// The flows of datagrams.
    pub udp: Arc<Udp>,
}

impl Icmp {
    /// Takes ICMP packets as `setup` says.
    #[must_use]
    pub fn new(setup: IcmpSetup) -> Self {
        let IcmpSetup {
            echo,
            here,
            out,
            errors,
            forward,
            inside,
            udp,
        } = setup;
        Self {
            echo,
            here,
            out,
            errors,
            forward,
            inside,
            udp,
        }
    }

    /// Takes a packet of ICMP that is no fragment, and whose addresses programs can have.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take(
        &self,
        packet: &[u8],
        parsed: &Parsed,
        offload: &Offload,
        hop: Hop,
    ) -> Result<(), Reason> {
        let message = packet.get(parsed.start..parsed.end).ok_or(Reason::Length)?;
        let header: &[u8; 8] = message.first_chunk().ok_or(Reason::Length)?;
        if !offload.valid && offload.partial.is_none() {
            let pseudo = match parsed.family {
                Family::V4 => 0,
                Family::V6 => Ends::back(parsed).pseudo(Transport::Icmp, message.len()),
            };
            if checksum::fold(pseudo + checksum::sum(message)) != 0xffff {
                return Err(Reason::Checksum);
            }
        }
        match (parsed.family, header[0]) {
            (Family::V4, ECHO_V4) | (Family::V6, ECHO_V6) => {
                self.echo(packet, parsed, message, hop)
            }
            (family, kind) if errors::is_error(family, kind) => {
                translate::take(&self.inside, &self.udp, parsed, message)
            }
            _ => Err(Reason::Icmp),
        }
    }

    /// What tells of packets that did not arrive.
    #[must_use]
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    fn echo(&self, packet: &[u8], parsed: &Parsed, message: &[u8], hop: Hop) -> Result<(), Reason> {
        if !self.here.contains(&parsed.destination) {
            match (self.echo, &self.forward) {
                (Echo::Forward, Some(forward)) => {
                    let asked = forward.take(parsed, message, hop);
                    return asked.or_else(|error| {
                        let why = Unreachable::of(&error);
                        self.errors.unreachable(packet, parsed, hop, why)
                    });
                }
                (Echo::Refuse, _) => {
                    let why = Unreachable::Prohibited;
                    return self.errors.unreachable(packet, parsed, hop, why);
                }
                (Echo::Answer | Echo::Forward, _) => {}
            }
        }
        let ends = Ends::back(parsed);
        let answer = answer(parsed.family, message);
        let answer = icmp(ends, answer, &message[8..]);
        let sent = self.out.send(hop, ends, Transport::Icmp, &answer);
        sent.map_err(|_| Reason::Unwritten)
    }
}

impl fmt::Debug for Icmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Icmp")
            .field("echo", &self.echo)
            .field("here", &self.here)
            .finish_non_exhaustive()
    }
}

/// What answers an echo request, which has a header.
fn answer(family: Family, message: &[u8]) -> Message {
    let kind = match family {
        Family::V4 => ANSWER_V4,
        Family::V6 => ANSWER_V6,
    };
    Message {
        kind,
        code: 0,
        rest: [message[4], message[5], message[6], message[7]],
    }
}

/// An end of an echo request, whose number stands for a port.
const fn asker(ip: IpAddr, id: u16) -> SocketAddr {
    SocketAddr::new(ip, id)
}

const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
const ANSWER_V4: u8 = 0;
const ANSWER_V6: u8 = 129;

#[cfg(test)]
mod tests;
