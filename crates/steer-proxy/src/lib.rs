//! The shared engine of `steer`: what happens to a connection after a method has steered it.
//!
//! ```text
//! Intake ─> engine ─┬─ sniff:    the client's first bytes
//!                   ├─ (rules):  where to
//!                   ├─ upstream: direct, SOCKS5, CONNECT
//!                   ├─ relay:    bytes, both ways
//!                   └─ record:   what happened
//! ```
#![forbid(unsafe_code)]

pub mod engine;
pub mod error;
pub mod events;
pub mod metrics;
pub mod record;
pub mod relay;
pub mod sniff;
pub mod upstream;
pub mod value;
