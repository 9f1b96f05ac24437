//! Bytes that were read and not yet passed on.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that were read and not yet passed on.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    /// A read filled all room: a larger body comes.
    hot: bool,
}

impl Buffer {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Takes bytes away from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Reads once; none is the end. Cancelling it loses nothing.
    pub(super) async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        self.make_room();
        let count = from.read_buf(&mut self.bytes).await?;
        self.hot = self.bytes.len() == self.bytes.capacity();
        Ok(count)
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.capacity() > SMALL {
            self.bytes = Vec::new();
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 && self.bytes.capacity() - self.bytes.len() < SMALL / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let capacity = self.bytes.capacity();
        let wanted = match (self.is_empty(), self.hot) {
            (true, true) => LARGE.max(capacity),
            _ if self.bytes.len() == capacity => (capacity * 2).max(SMALL),
            _ => capacity,
        };
        self.bytes.reserve_exact(wanted - self.bytes.len());
    }
}

/// Room for most heads.
const SMALL: usize = 8 * 1024;
/// Room for bodies.
pub(super) const LARGE: usize = 64 * 1024;
