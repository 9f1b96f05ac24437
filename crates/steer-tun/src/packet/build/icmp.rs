//! ICMP messages.

use steer_core::address::Family;

use super::super::{Transport, checksum};
use super::Ends;

/// What an ICMP message begins with, before its checksum is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The rest of its header.
    pub rest: [u8; 4],
}

/// An ICMP message of the ends' family, header and body, with its checksum.
#[must_use]
pub fn icmp(ends: Ends, message: Message, body: &[u8]) -> Vec<u8> {
    let Message { kind, code, rest } = message;
    let mut whole = Vec::with_capacity(HEADER + body.len());
    whole.extend([kind, code, 0, 0]);
    whole.extend(rest);
    whole.extend(body);
    let pseudo = match ends.family() {
        Family::V4 => 0,
        Family::V6 => ends.pseudo(Transport::Icmp, whole.len()),
    };
    let sum = !checksum::fold(pseudo + checksum::sum(&whole));
    whole[2..4].copy_from_slice(&sum.to_be_bytes());
    whole
}

/// How much of a packet an error about it has room for: 576 bytes in all (RFC 1812, section 4.3.2.3),
/// or what every link of IPv6 carries (RFC 4443, section 2.4).
#[must_use]
pub const fn room_to_quote(family: Family) -> usize {
    match family {
        Family::V4 => 576 - 20 - HEADER,
        Family::V6 => 1280 - 40 - HEADER,
    }
}

const HEADER: usize = 8;
