//! The methods `env` and `explicit`: programs that know of the proxy.
//!
//! ```text
//! env:      program ─> examine ─> may it be steered at all?
//!           Intent ─> plan ─> listener + variables of the command ──┐
//! explicit: Intent ─> plan ─> listener + forward listeners ─────────┤
//!                                                                   v
//!   accepted ─> announced (by a PROXY header, where the sender has to begin with one)
//!                  v
//!               handshake ─> detect ─┬─> socks5 ─┬──────────────────┬─> Steered
//!   (a task each)                    │           └─> associate ─────┤   (a flow a target)
//!                                    ├─> socks4 ────────────────────┤
//!                                    ├─> head ─> request ─> connect ┤
//!                                    │                └> absolute ──┤
//!                                    └─> refused                    │
//!   accepted at a forward listener ────────────────────────────────┘
//! ```
//!
//! A tunnel (SOCKS, CONNECT) is read byte for byte up to the end of its handshake, so that it
//! stays a socket of the kernel that a relay may splice. A request in absolute form passes
//! through an exchange, which ends it where its framing says.

#![forbid(unsafe_code)]

mod env;
mod examine;
mod explicit;
mod forward;
mod variables;

mod gate;
mod intake;
mod owner;

mod announced;
mod handshake;

mod detect;
mod socks4;
mod socks5;

mod associate;

mod absolute;
mod connect;
mod framing;
mod head;
mod request;

mod exchange;

mod farewell;
mod login;
mod probe;
mod reply;

#[cfg(any(test, feature = "trial"))]
mod pieces;
#[cfg(any(test, feature = "trial"))]
pub mod trial;

pub use env::Env;
pub use explicit::{DEFAULT_PORT, Explicit};
pub use forward::forward_plan;
pub use variables::{VARIABLES, Value, Variable};
