//! Real programs under the library, an engine of a few lines behind it: no privilege, no network
//! but loopback.
#![allow(
    clippy::unwrap_used,
    reason = "clippy sees no test in the helpers of a test"
)]

#[path = "programs/c.rs"]
mod c;
#[path = "programs/connect.rs"]
mod connect;
#[path = "programs/datagram.rs"]
mod datagram;
#[path = "programs/engine.rs"]
mod engine;
#[path = "programs/fetch.rs"]
mod fetch;
#[path = "programs/names.rs"]
mod names;
#[path = "programs/signals.rs"]
mod signals;
#[path = "programs/start.rs"]
mod start;
#[path = "programs/trust.rs"]
mod trust;
