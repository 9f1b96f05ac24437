//! IP packets as devices give and take them.
//!
//! [`Offload`] is what the device says of a packet beside its bytes, [`Parsed`] is where its parts are,
//! [`Reason`] is why it is not taken. `checksum` and `build` are the arithmetic and the packets of ours.

pub mod build;
mod change;
pub mod checksum;
mod offload;
mod parse;
mod reason;
mod segment;

pub use change::Change;
pub use offload::{Gso, Offload};
pub use parse::{Fragment, Parsed, Transport, parse};
pub use reason::{Counters, Reason};
pub use segment::Segment;
