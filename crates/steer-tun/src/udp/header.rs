//! The header of a datagram (RFC 768).

use steer_core::address::Family;

use crate::packet::build::Ends;
use crate::packet::{Offload, Parsed, Reason, Transport, checksum};

/// A datagram within its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) payload: &'a [u8],
}

/// Finds the datagram in a packet.
pub(super) fn read<'a>(
    packet: &'a [u8],
    parsed: &Parsed,
    offload: &Offload,
) -> Result<Datagram<'a>, Reason> {
    let whole = packet.get(parsed.start..parsed.end).ok_or(Reason::Length)?;
    let header: &[u8; 8] = whole.first_chunk().ok_or(Reason::Length)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (from, to, length, sum) = (word(0), word(2), usize::from(word(4)), word(6));
    // What follows a shorter datagram in its packet is nobody's.
    let whole = whole.get(..length).ok_or(Reason::Length)?;
    let payload = whole.get(8..).ok_or(Reason::Length)?;
    if from == 0 {
        return Err(Reason::Source);
    }
    if to == 0 {
        return Err(Reason::Destination);
    }
    if offload.partial.is_none() && !offload.valid {
        let pseudo = Ends::back(parsed).pseudo(Transport::Udp, length);
        let right = match (sum, parsed.family) {
            (0, Family::V4) => true,
            // RFC 8200, section 8.1.
            (0, Family::V6) => false,
            _ => checksum::fold(pseudo + checksum::sum(whole)) == 0xffff,
        };
        if !right {
            return Err(Reason::Checksum);
        }
    }
    Ok(Datagram { from, to, payload })
}
