//! Steering by netfilter: nat REDIRECT and mangle TPROXY.
//!
//! ```text
//! Intent ─> profile (what can be honoured) ─> plan ─────────────────────────> drivers
//! Host ───> requirements ─> neighbours ──────┘ rules: way, scope, traffic,      │ kernel
//!                                              gate, guard; listeners; notes    │
//!                                  Steered <─ intake <─ origin (SO_ORIGINAL_DST, <┘
//!                                                      conntrack, getsockname)
//! ```
//!
//! The rules are data of `steer_core::ruleset`; nf_tables and iptables get the same ones. The two
//! methods have the same files: what differs between them is what differs between the methods.
#![forbid(unsafe_code)]

mod assembly;
mod backend;
mod connections;
mod datagrams;
pub mod embed;
mod listeners;
mod neighbours;
mod notes;
mod owner;
mod place;
mod probe;
mod profile;
pub mod redirect;
mod requirements;
mod rules;
mod sockets;
pub mod tproxy;

pub use embed::{host, keeper};
pub use redirect::Redirect;
pub use tproxy::Tproxy;
