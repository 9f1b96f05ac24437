//! What the fuzz targets do with their input, and what has to hold whatever that is.
//!
//! ```text
//! bytes ─> script ─> packets and frames ─> segment ─> path ─> witness (every packet that goes out)
//! ```
//!
//! It holds that nothing panics, that each packet is taken or counted, that nothing goes out to a
//! station or an address that has not sent anything, that what goes out is a sound packet, and that
//! nothing is kept when time has passed.
//!
//! The readers of what others send (`http1`, `hello`, `quic`, `socks`, `absolute`, `proxy_protocol`)
//! are given the same bytes whole and in pieces: it holds that nothing panics, and that what they
//! make of the bytes does not depend on how these are cut.
#![forbid(unsafe_code)]

mod engine;
mod packets;
mod script;
mod witness;

mod cuts;
mod explicit;
mod hello;
mod http1;
mod proxy_protocol;
mod quic;

pub use explicit::{absolute, socks};
pub use hello::hello;
pub use http1::http1;
pub use packets::packets;
pub use proxy_protocol::proxy_protocol;
pub use quic::quic;
pub use script::{Record, write};

#[cfg(test)]
mod tests;
