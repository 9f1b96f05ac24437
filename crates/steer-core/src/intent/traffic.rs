//! What is steered.

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, HostPattern, PortRange, Protocol};

/// Which traffic of the scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// What is meant; an empty list means all.
    pub include: Filter,
    /// What is left out.
    pub exclude: Filter,
    /// Destinations on the loopback networks.
    pub loopback: Option<Loopback>,
    /// Port 53.
    pub dns: Option<Dns>,
    /// UDP port 443.
    pub quic: Option<Quic>,
}

/// Properties of traffic; values within a key are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Transport protocols.
    pub protocols: Vec<Protocol>,
    /// Destination ports.
    pub ports: Vec<PortRange>,
    /// Destination networks.
    pub cidrs: Vec<Cidr>,
    /// Destination names.
    pub domains: Vec<HostPattern>,
}

impl Traffic {
    /// Whether a protocol is meant: nothing written means every protocol.
    #[must_use]
    pub fn means(&self, protocol: Protocol) -> bool {
        let within = |filter: &Filter| filter.protocols.contains(&protocol);
        (self.include.protocols.is_empty() || within(&self.include)) && !within(&self.exclude)
    }

    /// Whether a port is meant, as far as ports are written.
    #[must_use]
    pub fn means_port(&self, port: u16) -> bool {
        let within = |filter: &Filter| filter.ports.iter().any(|range| range.contains(port));
        (self.include.ports.is_empty() || within(&self.include)) && !within(&self.exclude)
    }

    /// The protocols whose port 53 is captured, where it is: DNS has its own key, so only exclusion
    /// counts.
    #[must_use]
    pub fn captured(&self) -> Vec<Protocol> {
        let mut protocols = Protocol::ALL.to_vec();
        protocols.retain(|protocol| !self.exclude.protocols.contains(protocol));
        protocols
    }
}

/// What to do with traffic to 127.0.0.0/8 and ::1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loopback {
    /// Leave it alone; what a method does when nothing is written.
    Skip,
    /// Steer it like all else.
    Steer,
}

/// What to do with DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dns {
    /// Leave port 53 alone, UDP and TCP.
    Leave,
    /// Bring it to the engine.
    Capture,
}

/// What to do with UDP port 443.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quic {
    /// Bring it to the engine.
    Steer,
    /// Refuse it, so that clients fall back to TCP.
    Reject,
    /// Leave it alone.
    Leave,
}
