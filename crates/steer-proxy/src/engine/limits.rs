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
    /// The limits of UDP flows.
    pub udp: UdpLimits,
}

/// How many UDP flows, and how long each may rest.
///
/// UDP has no end, so a flow ends when nothing has moved for a while; what comes later begins
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpLimits {
    /// Flows at once. One more is refused at once, with a warning now and then instead of a record
    /// each, as a flood of them must not become a flood of lines.
    pub flows: usize,
    /// How long a flow of DNS rests: to port 53, or to a resolver of ours.
    pub dns: Duration,
    /// How long a flow of QUIC rests.
    pub quic: Duration,
    /// How long any other flow rests.
    pub idle: Duration,
}

impl Default for Limits {
    /// As many connections as the limit of open files allows, two descriptors each; 300 ms to
    /// sniff, 15 s to connect, no idle limit, five minutes for a silent half-closed connection.
    /// Up to 8192 UDP flows, for which a quarter of the descriptors is kept at most: they rest
    /// 10 s (DNS), 30 s (QUIC) or five minutes.
    fn default() -> Self {
        let spare = spare();
        let flows = FLOWS.min(spare / 8).max(1);
        Self {
            connections: (spare.saturating_sub(2 * flows) / 2).max(1),
            sniff: Duration::from_millis(300),
            connect: Duration::from_secs(15),
            relay: RelayLimits {
                idle: None,
                half_close: Some(Duration::from_secs(300)),
            },
            udp: UdpLimits {
                flows,
                dns: Duration::from_secs(10),
                quic: Duration::from_secs(30),
                idle: Duration::from_secs(300),
            },
        }
    }
}

/// Descriptors for everything that is no connection: pipes, listeners, files, lookups.
const RESERVED: u64 = 384;

/// UDP flows at once, where descriptors allow.
const FLOWS: usize = 8192;

/// Descriptors for connections and flows.
fn spare() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let spare = files.saturating_sub(RESERVED).max(files / 2);
    usize::try_from(spare).unwrap_or(usize::MAX)
}
