//! Ways from the engine to a destination.
//!
//! ```text
//! destination ─> direct: resolve, dial ─┬─> bytes
//!                                       ├─> proxy: ask it by socks5 | connect ─> bytes
//!                                       └─> datagrams: direct, or socks5's relay
//! ```
pub mod connect;
pub(crate) mod datagrams;
pub(crate) mod direct;
mod lookup;
mod names;
pub(crate) mod proxy;
mod race;
mod sockets;
pub mod socks5;
pub(crate) mod standing;
pub(crate) mod wire;

use std::fmt;

use steer_core::policy::UpstreamKind;

pub use lookup::HostResolver;
pub use names::{Resolver, SystemResolver, nameservers};
pub use sockets::{InsideSockets, MadeSockets, MarkedSockets, PlainSockets, SocketFactory};
pub use standing::{EndpointState, UpstreamState};

/// A user name and password as they go to a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// Whether a protocol can carry it; otherwise which part not, and why.
    pub(crate) fn sendable(&self, kind: UpstreamKind) -> Result<(), (&'static str, &'static str)> {
        let Self { username, password } = self;
        match kind {
            // RFC 1929, section 2: both lengths are a byte from 1 to 255.
            UpstreamKind::Socks5 => [("user name", username), ("password", password)]
                .into_iter()
                .find(|(_, text)| text.is_empty() || text.len() > 255)
                .map_or(Ok(()), |(part, _)| {
                    Err((part, "SOCKS5 demands 1 to 255 bytes"))
                }),
            // RFC 7617, section 2: the first colon ends the user name.
            UpstreamKind::Http if username.contains(':') => Err((
                "user name",
                "HTTP basic authentication forbids a colon in it",
            )),
            UpstreamKind::Http => Ok(()),
            UpstreamKind::Tcp => Err(("user name", "nothing is asked of a tcp:// upstream")),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
