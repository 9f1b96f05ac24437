//! The shared engine of `steer`: what happens to a connection after a method has steered it.
//!
//! ```text
//! Intake ─> engine ─┬─ sniff:    the client's first bytes
//!                   ├─ (rules):  where to
//!                   ├─ handler:  what an embedder sees and changes
//!                   ├─ upstream: direct, SOCKS5, CONNECT
//!                   ├─ relay:    bytes, both ways
//!                   └─ record:   what happened
//! ```
#![forbid(unsafe_code)]

pub mod engine;
pub mod error;
pub mod events;
pub mod handler;
pub mod metrics;
pub mod record;
pub mod relay;
pub mod sniff;
pub mod upstream;
pub mod value;
