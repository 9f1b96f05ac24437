//! The proxy port as its clients see it: real programs and hostile bytes, on loopback alone.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees no test in the helpers of a test"
)]

mod engine;
mod origin;

mod associate;
mod curl;
mod forward;
mod garbage;
mod hostile;
mod kit;
mod machines;
mod oracle;
mod python;
mod refusal;
mod senders;
mod tunnel;
