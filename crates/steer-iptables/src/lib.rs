//! Steering by netfilter: nat REDIRECT.
//!
//! ```text
//! Intent ─> profile (what can be honoured) ─> plan (scope, traffic, gate, guard) ─> drivers
//!                                                                                    │ kernel
//!                                     Steered <─ intake <─ origin (SO_ORIGINAL_DST) <─┘
//! ```
//!
//! The rules are data of `steer_core::ruleset`; nf_tables and iptables get the same ones.
#![forbid(unsafe_code)]

mod backend;
pub mod embed;
pub mod redirect;
mod rules;

pub use embed::{host, keeper};
pub use redirect::Redirect;
