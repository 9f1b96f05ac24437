//! Datagrams and ICMP against the kernel: real programs on one side, an engine that answers for every
//! destination on the other.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod echo;
mod engine;
mod flows;
mod scene;
