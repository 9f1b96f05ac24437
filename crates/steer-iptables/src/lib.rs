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
//! methods have the same files: what differs between them is what differs between the methods. The
//! intake of `tproxy` is that of every transparent listener (`steer_core::transparent`).
#![forbid(unsafe_code)]

mod assembly;
mod backend;
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
pub mod tproxy;

pub use embed::{host, keeper};
pub use redirect::Redirect;
pub use tproxy::Tproxy;
