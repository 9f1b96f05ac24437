//! Errors of ours about packets of others.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use steer_core::address::Family;
use steer_core::steered::Refusal;

use super::allowance::Allowance;
use crate::out::Out;
use crate::packet::build::{Ends, HOPS, Head, Message, icmp, room_to_quote};
use crate::packet::{Parsed, Reason, Transport};
use crate::wire::Hop;

/// Tells senders of packets that did not arrive, seldom enough.
#[derive(Debug)]
pub struct Errors {
    out: Arc<Out>,
    /// The engine's own address of each family on the link.
    here: Vec<IpAddr>,
    allowance: Allowance,
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody takes datagrams there.
    Port,
    /// The protocol is not steered.
    Protocol,
    /// A rule forbids it.
    Prohibited,
    /// There is no way there.
    Host,
}

impl Unreachable {
    /// Why a message could not be sent on.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Prohibited,
            _ => Self::Host,
        }
    }
}

impl Errors {
    /// Errors that come from these addresses, the first of each family, where they are of no
    /// destination.
    #[must_use]
    pub fn new(out: Arc<Out>, here: Vec<IpAddr>) -> Self {
        Self {
            out,
            here,
            allowance: Allowance::new(A_SECOND),
        }
    }

    /// Tells the sender of a packet that its hops are used up here (RFC 792, RFC 4443). The packet
    /// is not taken, whatever becomes of the error.
    #[must_use]
    pub fn time_exceeded(&self, packet: &[u8], parsed: &Parsed, hop: Hop) -> Reason {
        let kind = match parsed.family {
            Family::V4 => TIME_EXCEEDED_V4,
            Family::V6 => TIME_EXCEEDED_V6,
        };
        self.about(packet, parsed, hop, plain(kind, 0));
        Reason::Hops
    }

    /// Tells the sender of a packet that it goes nowhere.
    ///
    /// # Errors
    /// It always is one: the packet is not taken.
    pub fn unreachable(
        &self,
        packet: &[u8],
        parsed: &Parsed,
        hop: Hop,
        why: Unreachable,
    ) -> Result<(), Reason> {
        let message = match (parsed.family, why) {
            (Family::V4, Unreachable::Port) => plain(UNREACHABLE_V4, 3),
            (Family::V4, Unreachable::Protocol) => plain(UNREACHABLE_V4, 2),
            (Family::V4, Unreachable::Host) => plain(UNREACHABLE_V4, 1),
            (Family::V6, Unreachable::Host) => plain(UNREACHABLE_V6, 3),
            (Family::V4, Unreachable::Prohibited) => plain(UNREACHABLE_V4, 13),
            (Family::V6, Unreachable::Port) => plain(UNREACHABLE_V6, 4),
            (Family::V6, Unreachable::Prohibited) => plain(UNREACHABLE_V6, 1),
            (Family::V6, Unreachable::Protocol) => {
                // Unrecognized next header: where its number stands is told.
                Message {
                    kind: PARAMETER_V6,
                    code: 1,
                    rest: NEXT_HEADER_AT,
                }
            }
        };
        self.about(packet, parsed, hop, message);
        Err(match why {
            Unreachable::Port => Reason::NoFlow,
            Unreachable::Protocol => Reason::Protocol,
            Unreachable::Prohibited | Unreachable::Host => Reason::Icmp,
        })
    }

    /// Tells the client of a flow, in the destination's name, that a datagram of its which begins
    /// with `quote` went nowhere.
    pub fn refuse(
        &self,
        hop: Hop,
        client: SocketAddr,
        destination: SocketAddr,
        why: Refusal,
        quote: &[u8],
    ) {
        let (Some(asked), Some(back)) = (
            Ends::new(client.ip(), destination.ip()),
            Ends::new(destination.ip(), client.ip()),
        ) else {
            return;
        };
        let message = match back.family() {
            Family::V4 => plain(UNREACHABLE_V4, code_v4(why)),
            Family::V6 => plain(UNREACHABLE_V6, code_v6(why)),
        };
        let Some(ip) = Head::ip(asked, Transport::Udp, HOPS, None, quote.len() + 8) else {
            return;
        };
        // Without a sum, so that whoever translates addresses on the way has none to mend.
        let [a, b] = client.port().to_be_bytes();
        let [c, d] = destination.port().to_be_bytes();
        let [e, f] = ((quote.len() + 8) as u16).to_be_bytes();
        let body = [ip.bytes(), &[a, b, c, d, e, f, 0, 0], quote].concat();
        self.send(hop, back, message, &body);
    }

    /// Answers a packet with an error, where one may be answered so (RFC 1122, section 3.2.2; RFC
    /// 4443, section 2.4).
    fn about(&self, packet: &[u8], parsed: &Parsed, hop: Hop, message: Message) {
        let of_family = |ip: &&IpAddr| Family::of(**ip) == parsed.family;
        let Some(from) = self.here.iter().find(of_family) else {
            return;
        };
        let quote = packet.get(..parsed.end).unwrap_or(packet);
        let first = parsed.fragment.is_none_or(|fragment| fragment.offset == 0);
        let is_error = parsed.transport == Transport::Icmp
            && packet
                .get(parsed.start)
                .is_none_or(|kind| !is_question(parsed.family, *kind));
        let one = |ip: IpAddr| !ip.is_multicast() && !ip.is_unspecified() && !ip.is_loopback();
        let broadcast = parsed.destination == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        if !first || is_error || broadcast || !one(parsed.source) || !one(parsed.destination) {
            return;
        }
        let Some(ends) = Ends::new(*from, parsed.source) else {
            return;
        };
        self.send(hop, ends, message, quote);
    }

    fn send(&self, hop: Hop, ends: Ends, message: Message, quote: &[u8]) {
        if !self.allowance.take(Instant::now()) {
            return;
        }
        let quote = &quote[..quote.len().min(room_to_quote(ends.family()))];
        let whole = icmp(ends, message, quote);
        if let Err(error) = self.out.send(hop, ends, Transport::Icmp, &whole) {
            tracing::debug!(%error, "a client could not be told of an error");
        }
    }
}

/// Whether a message of this type tells of a packet that did not arrive.
pub(super) const fn is_error(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, UNREACHABLE_V4 | 4 | TIME_EXCEEDED_V4 | 12),
        Family::V6 => kind < 128,
    }
}

/// Whether a message of this type may be answered with an error: what is known to be none.
const fn is_question(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, super::ECHO_V4),
        Family::V6 => kind >= 128,
    }
}

const fn plain(kind: u8, code: u8) -> Message {
    Message {
        kind,
        code,
        rest: [0; 4],
    }
}

/// The code for a reason. Of the codes for an unreachable host or network Linux tells a UDP socket
/// only the administrative ones (`icmp_err_convert` in net/ipv4/icmp.c): ENETUNREACH and
/// EHOSTUNREACH.
const fn code_v4(why: Refusal) -> u8 {
    match why {
        Refusal::Refused | Refusal::Reset => 3,
        Refusal::NetworkUnreachable => 9,
        Refusal::HostUnreachable | Refusal::TimedOut | Refusal::NoSuchHost => 10,
        _ => 13,
    }
}

/// The code for a reason. Linux tells a UDP socket only of a port (ECONNREFUSED) and of what is
/// prohibited (EACCES; `tab_unreach` in net/ipv6/icmp.c).
const fn code_v6(why: Refusal) -> u8 {
    match why {
        Refusal::Refused | Refusal::Reset => 4,
        _ => 1,
    }
}

pub(super) const UNREACHABLE_V4: u8 = 3;
pub(super) const UNREACHABLE_V6: u8 = 1;
const TIME_EXCEEDED_V4: u8 = 11;
const TIME_EXCEEDED_V6: u8 = 3;
const PARAMETER_V6: u8 = 4;

/// Where in an IPv6 header the number of the next one stands.
const NEXT_HEADER_AT: [u8; 4] = [0, 0, 0, 6];

/// Errors a second, and at once.
const A_SECOND: u32 = 1000;
