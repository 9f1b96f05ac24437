//! What the fuzz targets do with their input, and what has to hold whatever that is.
//!
//! ```text
//! bytes ─> script ─> packets and frames ─> segment ─> path ─> witness (every packet that goes out)
//! ```
//!
//! It holds that nothing panics, that each packet is taken or counted, that nothing goes out to a
//! station or an address that has not sent anything, that what goes out is a sound packet, and that
//! nothing is kept when time has passed.
#![forbid(unsafe_code)]

mod engine;
mod packets;
mod script;
mod witness;

pub use packets::packets;
pub use script::{Record, write};

#[cfg(test)]
mod tests;
