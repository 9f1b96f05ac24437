//! Datagrams of a steered UDP flow.
//!
//! ```text
//! a socket a flow:  listener ─> Ingress ─> first datagram ─┐
//!                                   └─> Stragglers ────────┴─> SocketDatagrams ─┐
//! one socket:       port ─> Shared ─> SharedFlow ───────────────────────────────┤
//! no socket:        listener ─> Ingress ─> QueuedDatagrams ─────────────────────┴─> Datagrams
//! ```
//!
//! A method that can make a socket for each flow (transparent proxying: bound to the destination,
//! connected to the client) takes the first datagram from an [`Ingress`] and makes a
//! [`SocketDatagrams`], or a [`QueuedDatagrams`] where no socket can have the destination's
//! address. A method whose flows share a port takes them from a [`Shared`]. Beneath them all, [`Connected`] moves batches with as few system calls as the kernel allows.
mod answer;
mod batch;
mod budget;
mod connected;
mod flow;
mod ingress;
mod intake;
mod own;
mod packet;
mod queue;
mod queued;
mod shared;
mod transfer;

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::steered::Refusal;

pub use answer::{Answers, lossy, send_from};
pub use batch::Batch;
pub use budget::{Budget, Reservation};
pub use connected::{Connected, Sent};
pub use flow::{OnRefusal, SocketDatagrams, Stragglers};
pub use ingress::{Arrival, Arrivals, Ingress};
pub use intake::{DatagramIntake, Ends, Pair};
pub use own::OwnSockets;
pub use queue::Unqueued;
pub use queued::{OnSend, QueuedDatagrams};
pub use shared::{Framing, Shared, SharedFlow, SharedLimits, Whole};

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
