//! DNS in steering: what names mean, and the method `dns`.
//!
//! ```text
//! query  ─> codec ─> query ─┬─> canary ─┬─> reply (answered here)
//!                           ├─> fake ───┘
//!                           └─> forwarded by the engine
//! answer ─> codec ─> rebinding ─> memory ─> delivered
//!
//! address of a connection ─> fake | memory ─> name
//!
//! method dns: Intent, Host ─> plan (listeners) ─> intake ─> Steered
//! ```
//!
//! The engine does all input and output; [`Resolver`] decides what becomes of a message
//! ([`steer_core::names::Conversation`]) and tells which name an address stands for
//! ([`steer_core::names::Names`]).
#![forbid(unsafe_code)]

pub mod codec;

mod clients;
mod clock;
mod counters;
mod error;

mod query;
mod reply;

mod canary;
mod fake;
mod local;
mod memory;
mod rebinding;

mod resolver;

mod dns;

pub use counters::Counts;
pub use dns::Dns;
pub use error::ResolverError;
pub use rebinding::Rebinding;
pub use resolver::{Resolver, for_intent, for_plan};
