//! Several datagrams in one buffer.
use std::fmt;
use std::ops::Range;

/// Several datagrams in one buffer.
///
/// Meant to be kept and cleared: the first batch that a socket receives into takes room for
/// [`Batch::MOST`] datagrams of any size, of which only the pages that are written cost memory.
///
/// ```
/// use steer_core::datagram::Batch;
/// let mut batch = Batch::default();
/// batch.push(b"one");
/// batch.push(b"");
/// assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b""]);
/// ```
#[derive(Default)]
pub struct Batch {
    /// Initialised room, longer than what is used of it.
    room: Vec<u8>,
    /// Where each datagram lies in it.
    spans: Vec<Range<usize>>,
    /// The end of the last one.
    used: usize,
    /// The lengths of all together.
    bytes: usize,
}

impl Batch {
    /// How many datagrams a socket delivers at once, at most.
    pub const MOST: usize = 32;

    /// Adds a datagram.
    pub fn push(&mut self, datagram: &[u8]) {
        self.push_parts(&[datagram]);
    }

    /// Adds a datagram that lies in parts.
    pub fn push_parts(&mut self, parts: &[&[u8]]) {
        let start = self.used;
        let mut at = start;
        for part in parts {
            let end = at + part.len();
            if self.room.len() < end {
                self.room.resize(end, 0);
            }
            self.room[at..end].copy_from_slice(part);
            at = end;
        }
        self.mark(start..at);
    }

    /// The datagrams, first one first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.spans.iter().map(|span| &self.room[span.clone()])
    }

    /// The datagram with this number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        Some(&self.room[self.spans.get(index)?.clone()])
    }

    /// How many datagrams it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of all datagrams together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the datagrams and keeps the room.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.used = 0;
        self.bytes = 0;
    }

    /// Whether it has taken room.
    #[cfg(test)]
    pub(super) fn has_room(&self) -> bool {
        !self.room.is_empty()
    }

    /// Where the free room begins, and as many slots of it as there are, one at least: the first
    /// byte of each is [`STRIDE`] behind that of the one before.
    pub(super) fn slots(&mut self) -> (usize, impl Iterator<Item = &mut [u8]>) {
        let start = self.used;
        if self.room.len() < start + STRIDE {
            if start == 0 {
                // Zeroed by the kernel and only when touched, which growing would not be.
                self.room = vec![0; Self::MOST * STRIDE];
            } else {
                self.room.resize(start + STRIDE, 0);
            }
        }
        let slots = self.room[start..].chunks_exact_mut(STRIDE);
        (start, slots.map(|slot| &mut slot[..LONGEST]))
    }

    /// Takes bytes that were written into slots as a datagram.
    pub(super) fn mark(&mut self, span: Range<usize>) {
        self.used = span.end;
        self.bytes += span.len();
        self.spans.push(span);
    }
}

/// Longer than any payload of UDP.
const LONGEST: usize = 1 << 16;

/// From slot to slot: not a power of two, so that the beginnings of datagrams do not compete for
/// the same lines of the processor's cache.
pub(super) const STRIDE: usize = LONGEST + 192;

impl Clone for Batch {
    fn clone(&self) -> Self {
        let mut batch = Self::default();
        self.iter().for_each(|datagram| batch.push(datagram));
        batch
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("datagrams", &self.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}
