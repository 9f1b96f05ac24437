//! The shared engine of `steer`: what happens to a connection after a method has steered it.
//!
//! ```text
//! client's first bytes ─> sniff ─> rules ─> upstream (direct, SOCKS5, CONNECT) ─> relay ─> record
//! ```
#![forbid(unsafe_code)]

pub mod error;
pub mod record;
pub mod relay;
pub mod sniff;
pub mod upstream;
