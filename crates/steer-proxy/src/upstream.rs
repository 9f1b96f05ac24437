//! Ways from the engine to a destination.
//!
//! ```text
//! destination ─> direct: resolve, dial ─┬─> bytes
//!                                       └─> socks5 | connect: ask the proxy for it ─> bytes
//! ```
pub mod connect;
pub(crate) mod direct;
mod names;
mod sockets;
pub mod socks5;

use std::fmt;

pub use names::{Resolver, SystemResolver};
pub use sockets::{MarkedSockets, PlainSockets, SocketFactory};

/// A user name and password as they go to a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
