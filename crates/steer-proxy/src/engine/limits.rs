//! How many connections, and how long each step may take.
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use crate::relay::RelayLimits;

/// The limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is refused at once.
    pub connections: usize,
    /// How long the client's first bytes are waited for where the route, or the name that a proxy
    /// is asked for, depends on them; once a connection.
    ///
    /// A server that speaks first is heard that much later there. Where every rule that the bytes
    /// could choose leads direct, nothing is waited for.
    pub sniff: Duration,
    /// How long a dial may take, with name resolution and the proxy's answer.
    pub connect: Duration,
    /// The deadlines of established connections.
    pub relay: RelayLimits,
}

impl Default for Limits {
    /// As many connections as the limit of open files allows, two descriptors each; 300 ms to
    /// sniff, 15 s to connect, no idle limit, five minutes for a silent half-closed connection.
    fn default() -> Self {
        Self {
            connections: affordable(),
            sniff: Duration::from_millis(300),
            connect: Duration::from_secs(15),
            relay: RelayLimits {
                idle: None,
                half_close: Some(Duration::from_secs(300)),
            },
        }
    }
}

/// Descriptors for everything that is no connection: pipes, listeners, files, lookups.
const RESERVED: u64 = 384;

fn affordable() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let spare = files.saturating_sub(RESERVED).max(files / 2);
    usize::try_from(spare / 2).unwrap_or(usize::MAX).max(1)
}
