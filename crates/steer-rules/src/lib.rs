//! Scope and traffic as rules of a packet filter: what every method shares whose packets netfilter
//! chooses.
//!
//! ```text
//! Intent ─> way, scope, traffic ─> decisions ─> assembly ─> rulesets of a plan
//! Host ───> backend, neighbours, requirements ─┘
//! ```
//!
//! A method says where the chosen packets are brought, and what of them it knows again; everything
//! about who and what is chosen, refused or left alone is here, once. The rules are data of
//! `steer_core::ruleset`; nf_tables and iptables get the same ones.
#![forbid(unsafe_code)]

pub mod assembly;
pub mod backend;
pub mod listeners;
pub mod neighbours;
pub mod notes;
pub mod owner;
pub mod place;
pub mod probe;
pub mod profile;
pub mod requirements;
pub mod rules;
