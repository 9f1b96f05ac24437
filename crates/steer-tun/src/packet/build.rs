//! Packets of ours.
//!
//! [`Head`] is the front of a packet whose payload lies elsewhere, [`reset`] answers a segment of no
//! connection, [`icmp()`] makes messages, [`fragments`] cuts what is too long for a link.

mod head;
mod icmp;
mod pieces;
mod reset;

pub use head::{Ends, HOPS, Head, Sum};
pub use icmp::{Message, icmp, room_to_quote};
pub use pieces::fragments;
pub use reset::reset;

#[cfg(test)]
mod tests;
