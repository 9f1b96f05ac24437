//! The vocabulary of traffic steering, and the seam that every method implements.
//!
//! ```text
//! config ─> intent ─┐                            guard          kernel
//! host ─────────────┴─> steerer ─> plan ─> engaged ─> keeper ─> driver
//!                                            │
//!                                          intake ─> steered ─> whoever consumes it
//! ```
//!
//! What the user wants ([`intent`], [`policy`]) and what the host is ([`host`]) go into a method
//! ([`steerer`]), out comes a [`plan`]: typed objects ([`object`], [`ruleset`]) in which
//! [`symbol`]s stand for what exists only at run time. [`engaged`] puts a plan in force: it opens
//! the listeners and has a [`keeper`] make the rest through one [`driver`] a domain. From then on
//! connections come out of an [`intake`] as [`steered`] ones, and no code behind it knows which
//! method brought them.
#![forbid(unsafe_code)]

pub mod accept;
pub mod address;
pub mod config;
pub mod connections;
pub mod datagram;
pub mod driver;
pub mod engaged;
pub mod host;
pub mod instance;
pub mod intake;
pub mod intent;
pub mod journal;
pub mod keeper;
pub mod key;
pub mod listen;
pub mod mark;
pub mod masks;
pub mod method;
pub mod names;
pub mod netns;
pub mod object;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod program;
pub mod proxy_protocol;
pub mod requirement;
pub mod ruleset;
pub mod steered;
pub mod steerer;
pub mod symbol;
pub mod transparent;
