//! Datagrams of a steered UDP flow.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::steered::Refusal;

/// One client's datagrams to one destination, and the way back to it.
///
/// Each method brings its own kind: a socket of the kernel that holds the destination's address,
/// or a share of a port whose datagrams carry a header. Boundaries are kept, order is not promised,
/// and what there is no room for is lost, as UDP allows.
pub trait Datagrams: fmt::Debug + Send {
    /// Appends what the client has sent to `batch`, at least one datagram, without waiting for
    /// more than is there.
    ///
    /// # Errors
    /// The flow can bring no more: the client is gone.
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>>;

    /// Sends a batch to the client, from the exact destination that it addressed.
    ///
    /// # Errors
    /// The client cannot be reached any more. A full buffer is none: what does not fit is lost.
    fn send(&mut self, batch: &Batch) -> io::Result<()>;

    /// Has the client's next call fail as UDP tells of `why`: with an ICMP error that quotes its
    /// last datagram, where the method can.
    fn refuse(&mut self, why: Refusal);
}

/// Several datagrams in one buffer.
///
/// ```
/// use steer_core::datagram::Batch;
/// let mut batch = Batch::default();
/// batch.push(b"one");
/// batch.push(b"");
/// assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b""]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each datagram ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Adds a datagram.
    pub fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    /// The datagrams, first one first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    /// How many datagrams it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all datagrams together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Drops the datagrams and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
