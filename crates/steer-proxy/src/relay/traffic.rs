//! The byte counters of one connection.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes moved so far, readable at any time by anyone who shares it.
///
/// The relay is the only writer, so a count costs a load and a store and no locked instruction.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Bytes that the program sent and the upstream took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes that the program received.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(crate) fn sent_counter(&self) -> Counter<'_> {
        Counter(&self.sent)
    }

    pub(crate) fn received_counter(&self) -> Counter<'_> {
        Counter(&self.received)
    }
}

/// One direction's count, held by its only writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter<'a>(&'a AtomicU64);

impl Counter<'_> {
    pub(crate) fn add(self, bytes: usize) {
        self.0.store(self.0.load(Relaxed) + bytes as u64, Relaxed);
    }
}
