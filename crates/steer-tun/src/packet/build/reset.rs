//! The answer to a segment of no connection.

use super::super::{Parsed, Transport, checksum};
use super::{Ends, HOPS, Head};

/// The reset that answers a segment of no connection (RFC 9293, section 3.10.7.1), with its checksum;
/// `None` where the segment is a reset itself, or none.
#[must_use]
pub fn reset(packet: &[u8], parsed: &Parsed) -> Option<Vec<u8>> {
    let segment = packet.get(parsed.start..parsed.end)?;
    let header: &[u8; 20] = segment.first_chunk()?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let flags = header[13];
    if flags & RST != 0 {
        return None;
    }
    let data = segment
        .len()
        .checked_sub(usize::from(header[12] >> 4) * 4)?;
    let data = u32::try_from(data).ok()?;
    let (sequence, acknowledged, flags) = if flags & ACK == 0 {
        let length = data + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        (0, word(4).wrapping_add(length), RST | ACK)
    } else {
        (word(8), 0, RST)
    };
    let ends = Ends::back(parsed);
    let mut answer = [0; 20];
    answer[..2].copy_from_slice(&header[2..4]);
    answer[2..4].copy_from_slice(&header[..2]);
    answer[4..8].copy_from_slice(&sequence.to_be_bytes());
    answer[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    answer[12] = 5 << 4;
    answer[13] = flags;
    let sum = ends.pseudo(Transport::Tcp, answer.len()) + checksum::sum(&answer);
    answer[16..18].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
    let head = Head::ip(ends, Transport::Tcp, HOPS, None, answer.len())?;
    Some([head.bytes(), &answer].concat())
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
