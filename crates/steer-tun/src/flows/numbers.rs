//! The sequence numbers of a connection, which tell its own segments from what others make up.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::packet::Segment;

/// What is known of the sequence numbers of a connection.
///
/// What the listener says is the kernel's and true; what comes from a client's side may be anybody's.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The client's first byte.
    first: AtomicU32,
    /// The client's byte that the listener waits for, by what it last said.
    acknowledged: AtomicU32,
    /// The one that it waits for once all that went to it without a gap has come.
    next: AtomicU32,
    /// The number after the listener's last byte.
    sent: AtomicU32,
}

impl Numbers {
    /// The client's first segment.
    pub(super) fn begin(&self, syn: &Segment) {
        self.begin_at(syn.sequence.wrapping_add(1));
        self.next.store(syn.end(), Relaxed);
    }

    /// The listener's first segment. Returned is whether it answers another one than the client's first:
    /// the kernel had no connection any more, and has begun one.
    pub(super) fn answer(&self, segment: &Segment) -> bool {
        let is_other = segment.acknowledged != self.first.load(Relaxed);
        if is_other {
            self.begin_at(segment.acknowledged);
            self.next.store(segment.acknowledged, Relaxed);
        }
        is_other
    }

    /// The number after the listener's first segment.
    pub(super) fn answered(&self, segment: &Segment) {
        self.sent.store(segment.end(), Relaxed);
    }

    /// Any other segment of the listener's.
    pub(super) fn outward(&self, segment: &Segment) {
        advance(&self.sent, segment.end());
        if segment.is(Segment::ACK) {
            advance(&self.acknowledged, segment.acknowledged);
            advance(&self.next, segment.acknowledged);
        }
    }

    /// A segment from the client's side that [may be its](Self::is_near).
    pub(super) fn inward(&self, segment: &Segment) {
        let next = self.next.load(Relaxed);
        if next.wrapping_sub(segment.sequence) < NEAR {
            advance(&self.next, segment.end());
        }
    }

    /// Whether a segment that acknowledges may be the client's: both its numbers are near to those that
    /// it knows and others do not.
    pub(super) fn is_near(&self, segment: &Segment) -> bool {
        let from = self.acknowledged.load(Relaxed).wrapping_sub(NEAR);
        let sent = self.sent.load(Relaxed);
        segment.is(Segment::ACK)
            && segment.sequence.wrapping_sub(from) < NEAR * 2
            && sent.wrapping_sub(segment.acknowledged) < NEAR
    }

    /// Whether a reset has the very number that the listener waits for (RFC 5961, section 3.2), or will
    /// wait for once all that was sent before it has come.
    pub(super) fn is_next(&self, reset: &Segment) -> bool {
        [&self.acknowledged, &self.next]
            .into_iter()
            .any(|number| number.load(Relaxed) == reset.sequence)
    }

    /// Whether a reset by the listener comes after all that it has sent, some of which another queue may
    /// yet have.
    pub(super) fn is_last(&self, reset: &Segment) -> bool {
        reset.sequence.wrapping_sub(self.sent.load(Relaxed)) < NEAR / 32
    }

    fn begin_at(&self, first: u32) {
        self.first.store(first, Relaxed);
        self.acknowledged.store(first, Relaxed);
    }
}

/// Sets a number to one that comes after it; distances are modulo 2^32.
fn advance(number: &AtomicU32, to: u32) {
    let is_after = |from: u32| (1..1 << 31).contains(&to.wrapping_sub(from));
    // Other queues may have been faster.
    let _ = number.fetch_update(Relaxed, Relaxed, |from| is_after(from).then_some(to));
}

/// How much may be under way: as much as Linux's largest buffers of one connection (`tcp_rmem`).
const NEAR: u32 = 32 << 20;
