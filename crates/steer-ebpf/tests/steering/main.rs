//! Plans in force in namespaces and cgroups of the lab, with an engine that answers everything
//! itself.
//!
//! What is steered gets an answer that begins with `engine:`; what is not gets the true server's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;

mod elsewhere;
mod external;
mod identity;
mod inbound;
mod local;
mod probe;
mod scopes;
mod tokens;

/// The program that acts in a cgroup of the tests.
#[test]
fn agent() {
    lab::serve_agent();
}
