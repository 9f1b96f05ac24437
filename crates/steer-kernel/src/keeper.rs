//! Keepers: who puts a job in force and undoes it when the engine is gone.
//!
//! ```text
//! engine ── Client ══ socket ══> process ── LocalKeeper ── Drivers ── kernel
//!   │          ▲                    │            │
//!   │          └── lifelines ───────┤            └── journal (before and after every change)
//!   └── pidfd ──────────────────────┘
//! ```
//!
//! The engine's death closes the socket. The keeper waits until the process is really gone, so
//! that the kernel resets the engine's connections while the rules still stand, and then leaves
//! what [`Job::remains`](steer_core::keeper::Job::remains) says.

mod clean;
pub(crate) mod client;
mod elsewhere;
mod farewell;
pub(crate) mod fault;
mod local;
mod parking;
mod ports;
mod predecessor;
pub(crate) mod process;
mod slots;
pub(crate) mod start;
mod watch;
pub(crate) mod wire;

pub use clean::{Cleaned, Live, Reach, clean};
pub use client::{Client, spawn};
pub use local::LocalKeeper;
pub use process::{entry, entry_with};

#[cfg(test)]
mod tests;
