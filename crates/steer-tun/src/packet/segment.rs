//! What a TCP header says (RFC 9293).

use super::{Parsed, Reason};

/// What the header of a TCP segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sender's port, and the receiver's.
    pub ports: (u16, u16),
    /// The number of its first byte.
    pub sequence: u32,
    /// The number of the byte that the sender waits for, where [`Segment::ACK`] is set.
    pub acknowledged: u32,
    /// Its flags.
    pub flags: u8,
    /// Where its data starts in the packet.
    pub data: usize,
    /// How many bytes of data it has.
    pub length: usize,
}

impl Segment {
    /// The sender's last.
    pub const FIN: u8 = 1;
    /// The sender's first.
    pub const SYN: u8 = 1 << 1;
    /// There is no such connection.
    pub const RST: u8 = 1 << 2;
    /// It acknowledges.
    pub const ACK: u8 = 1 << 4;

    /// Reads the header of the segment that a packet carries.
    ///
    /// # Errors
    /// It does not lie within the packet.
    pub fn read(packet: &[u8], parsed: &Parsed) -> Result<Self, Reason> {
        let bytes = packet.get(parsed.start..parsed.end);
        let bytes = bytes.ok_or(Reason::Length)?;
        let fixed: &[u8; 20] = bytes.first_chunk().ok_or(Reason::Length)?;
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        let header = usize::from(fixed[12] >> 4) * 4;
        if header < fixed.len() {
            return Err(Reason::Length);
        }
        let length = bytes.len().checked_sub(header).ok_or(Reason::Length)?;
        Ok(Self {
            ports: (half(0), half(2)),
            sequence: word(4),
            acknowledged: word(8),
            flags: fixed[13],
            data: parsed.start + header,
            length,
        })
    }

    /// Whether any of these flags is set.
    #[must_use]
    pub const fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it begins a connection.
    #[must_use]
    pub const fn begins(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// The number after its last byte; SYN and FIN count as one each.
    #[must_use]
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.is(Self::SYN)) + u32::from(self.is(Self::FIN));
        let length = u32::try_from(self.length).expect("a packet is short");
        self.sequence.wrapping_add(length).wrapping_add(flags)
    }
}
