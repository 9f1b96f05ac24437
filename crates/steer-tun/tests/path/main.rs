//! The path of packets against the kernel: real programs on one side, real listeners on the other.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod ends;
mod engine;
mod gone;
mod many;
mod speed;
mod stand;
mod sys;
mod transfer;
