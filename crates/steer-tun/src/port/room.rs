//! Room for one packet, with all that may be before it.

use std::fmt;

use crate::packet::Offload;

/// Room for one frame of any length. The packet of a frame has the same place, whatever is before it.
pub struct Room {
    bytes: Box<[u8]>,
    /// Where the device's header starts, and how long it is.
    header: (usize, usize),
    /// Where the frame starts and ends.
    frame: (usize, usize),
}

impl Room {
    /// Room with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; PACKET + LONGEST].into_boxed_slice(),
            header: (PACKET, 0),
            frame: (PACKET, PACKET),
        }
    }

    /// The frame.
    #[must_use]
    pub fn frame(&mut self) -> &mut [u8] {
        let (start, end) = self.frame;
        &mut self.bytes[start..end]
    }

    /// Where the next read writes to, so that what is before the packet has its place.
    pub(super) fn before(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[PACKET - length..]
    }

    /// Takes note of what was read: so many bytes, of which the header is first.
    pub(super) fn fill(&mut self, length: usize, header: usize, link: usize) {
        let start = PACKET - link - header;
        let end = start + length;
        self.header = (start, header.min(length));
        self.frame = ((start + header).min(end), end);
    }

    /// The device's header, where there is all of it.
    pub(super) fn header(&self) -> Option<&[u8; Offload::HEADER]> {
        let (start, length) = self.header;
        self.bytes[start..start + length].first_chunk()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("frame", &(self.frame.1 - self.frame.0))
            .finish_non_exhaustive()
    }
}

/// Where packets start: there is room before them for the longest headers, and they are aligned.
const PACKET: usize = 64;

/// Longer than the longest packet: 65,535 bytes and an IPv6 header, in pages.
const LONGEST: usize = 68 << 10;
