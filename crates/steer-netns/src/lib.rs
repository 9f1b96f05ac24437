//! Steering by namespaces of the command's own, without privilege.
//!
//! ```text
//! Intent ─> profile (what can be honoured) ─> plan ──────────────> holder (a process of ours inside)
//! Host ───> requirements ────────────────────┘ network,              │ kernel
//!                                              listeners, rules;     │
//!                                              notes                 │
//!                         Steered <─ intake (getsockname) <──────────┤ listeners, handed out
//!                                 <─ publish (from outside)          │
//!                         Spawner ─> command: enters, families <─────┘
//! ```
//!
//! In the network namespace there is `lo` and nothing else, so that no packet can leave it. Every
//! address is local there, and one rule hands each packet to the engine's transparent sockets,
//! addresses unchanged. The engine stays outside and dials from there.
#![forbid(unsafe_code)]

mod intake;
mod listeners;
mod method;
mod network;
mod notes;
mod owner;
mod plan;
mod probe;
mod profile;
mod publish;
mod requirements;
mod rules;

pub use method::Netns;
