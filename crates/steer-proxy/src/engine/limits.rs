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
    /// DNS conversations at once, which are no flows: programs and resolvers that ask much leave
    /// the others their places, and the other way round. One more is refused as a flow is.
    pub conversations: usize,
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
    /// Up to 8192 UDP flows and 4096 DNS conversations, for which a quarter and an eighth of the
    /// descriptors are kept at most: they rest 10 s (DNS), 30 s (QUIC) or five minutes.
    fn default() -> Self {
        Self::within(files())
    }
}

impl Limits {
    /// Limits that need no more than so many descriptors, unless there are hardly any.
    fn within(files: u64) -> Self {
        let spare = spare(files);
        let flows = FLOWS.min(spare / 4 / OF_A_FLOW).max(1);
        let conversations = CONVERSATIONS.min(spare / 8 / OF_A_CONVERSATION).max(1);
        let kept = flows * OF_A_FLOW + conversations * OF_A_CONVERSATION;
        Self {
            connections: (spare.saturating_sub(kept) / OF_A_CONNECTION).max(1),
            sniff: Duration::from_millis(300),
            connect: Duration::from_secs(15),
            relay: RelayLimits {
                idle: None,
                half_close: Some(Duration::from_secs(300)),
            },
            udp: UdpLimits {
                flows,
                conversations,
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

/// DNS conversations over UDP at once, where descriptors allow.
const CONVERSATIONS: usize = 4096;

/// Descriptors of a connection: its two ends.
const OF_A_CONNECTION: usize = 2;

/// Descriptors of a flow: its two ends, and the connection to the proxy that relays it.
const OF_A_FLOW: usize = 3;

/// Descriptors of a conversation: to the resolver, and the connection to the proxy that relays it.
/// Its client's end is shared.
const OF_A_CONVERSATION: usize = 2;

/// Descriptors that this process may have.
fn files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Descriptors for connections, flows and conversations.
fn spare(files: u64) -> usize {
    let spare = files.saturating_sub(RESERVED).max(files / 2);
    usize::try_from(spare).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_at_its_limit_fits_the_descriptors() {
        for files in [1024, 4096, 65_536, 1 << 20, u64::from(u32::MAX)] {
            let Limits {
                connections, udp, ..
            } = Limits::within(files);
            let UdpLimits {
                flows,
                conversations,
                ..
            } = udp;
            let needed = connections * 2 + flows * 3 + conversations * 2;
            let needed = u64::try_from(needed).unwrap();
            assert!(needed + RESERVED <= files, "{needed} of {files}");
            assert!(connections >= 190 && flows >= 50 && conversations >= 40);
        }
    }
}
