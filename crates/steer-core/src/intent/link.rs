//! What the device of `tun` and `tap` is like.

use std::net::IpAddr;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

/// What is written about the device of a method that makes one (`device:`); what is not written is
/// chosen by the method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The longest packet, in bytes, without the link's header.
    pub mtu: Option<u32>,
    /// How many queues it has, each served by a thread of its own.
    pub queues: Option<u16>,
    /// What becomes of echo requests in scope.
    pub echo: Option<Echo>,
    /// A device that somebody else made: its open descriptor, inherited by this process. Everything
    /// that comes by it is meant.
    pub fd: Option<RawFd>,
    /// The bridge that a device with a link layer is to be a port of; what its stations send to the
    /// gateway is meant.
    pub bridge: Option<String>,
    /// The addresses under which stations of the link find the engine, with the length of their
    /// network.
    pub gateway: Vec<(IpAddr, u8)>,
    /// Whether stations that ask for an IPv4 address get one of the gateway's network (DHCP).
    pub dhcp: bool,
    /// Whether the gateway's IPv6 network is advertised to stations (router advertisement).
    pub advertise: bool,
}

impl Link {
    /// Whether what comes by the device is what is meant, so that no scope has to say it: others lead
    /// packets there.
    #[must_use]
    pub const fn chooses(&self) -> bool {
        self.fd.is_some() || self.bridge.is_some()
    }
}

/// What becomes of ICMP echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Echo {
    /// The engine answers them itself: whatever address is asked is there.
    Answer,
    /// The engine asks the destination, and passes its answer on.
    Forward,
    /// They are refused.
    Refuse,
}
