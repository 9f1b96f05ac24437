//! Namespaces of a command's own, and the process that holds them.
//!
//! ```text
//! engine ── Confined ══ socket ══> holder ─┬─ maps of users, lo, addresses, routes, masks
//!   │           │                          ├─ nf_tables, devices, routes inside
//!   │           └── descriptors of the     ├─ listeners, handed out
//!   │               namespaces             └─ sockets on request (a socket of its own)
//!   └── child::Spawner: setns between fork and exec
//! ```
//!
//! No privilege is needed: whoever makes a user namespace has every capability over what it then
//! makes (user_namespaces(7)). Nothing of it is on the host, so nothing has to be undone: the
//! holder ends with the engine's socket, and the namespaces with the last process in them. What
//! the command left there reaches nobody any more.

mod client;
mod entrance;
mod holder;
mod mask;
mod network;
mod obstacle;
mod residents;
mod sockets;
mod users;
mod wire;

pub use client::{Confined, spawn};
pub(crate) use entrance::Entrance;
pub(crate) use holder::hold;
pub(crate) use obstacle::{Obstacle, Stage};
pub use residents::Residents;
