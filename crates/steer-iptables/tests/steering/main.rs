//! Plans in force in namespaces of the lab, with an engine that answers everything itself.
//!
//! What is steered gets an answer that begins with `engine:`; what is not gets the true server's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod site;

mod domain;
mod forwarded;
mod inbound;
mod leaks;
mod local;
mod namespace;
mod strays;
