//! Addresses as newtypes, so that a swapped client and destination do not compile.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod cidr;
mod name;
mod range;

pub use cidr::{Cidr, CidrError};
pub use name::{HostName, HostNameError, HostPattern};
pub use range::{IdRange, PortRange, RangeError};

/// An IP version; iterate [`Family::ALL`] rather than writing a thing twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address; a v4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The loopback address of the family.
    #[must_use]
    pub const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// The address that means every one of this host's where it is bound.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Every loopback destination of the family, as a network.
    #[must_use]
    pub fn loopback_net(self) -> Cidr {
        match self {
            Self::V4 => Cidr::trusted(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            Self::V6 => Cidr::trusted(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        }
    }

    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// A transport protocol that can be chosen for steering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both protocols, TCP first.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The address that a steered connection came from, as the kernel reports the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientAddr(pub SocketAddr);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        canonical(self.0).fmt(f)
    }
}

/// The original destination: the address that the program asked for.
///
/// Always in canonical form: a v4-mapped IPv6 address is stored as IPv4, so that
/// two spellings of one destination compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrigDst(SocketAddr);

impl OrigDst {
    /// The destination in canonical form.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self(canonical(address))
    }

    /// The address to dial.
    #[must_use]
    pub const fn addr(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for OrigDst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a steered connection asked for.
///
/// Shown as `203.0.113.7:443`, `[2001:db8::1]:443` or `name:443`, the form of the record's
/// `destination`.
///
/// ```
/// use steer_core::address::Destination;
/// let name: Destination = "Example.com:443".parse().unwrap();
/// assert_eq!(name.to_string(), "example.com:443");
/// let mapped: Destination = "[::ffff:192.0.2.1]:80".parse().unwrap();
/// assert_eq!(mapped.to_string(), "192.0.2.1:80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Destination {
    /// An address and port.
    Addr(OrigDst),
    /// A name and port: an explicit client asked by name.
    Name {
        /// The name, as asked for.
        host: HostName,
        /// The port.
        port: u16,
    },
}

impl Destination {
    /// An address as a destination.
    #[must_use]
    pub fn addr(address: SocketAddr) -> Self {
        Self::Addr(OrigDst::new(address))
    }

    /// A host as written by a client (an IP literal, bracketed or not, or a name) with a port.
    pub fn parse_host(host: &str, port: u16) -> Result<Self, HostNameError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Ok(Self::addr(SocketAddr::new(ip, port))),
            Err(_) => Ok(Self::Name {
                host: HostName::new(host)?,
                port,
            }),
        }
    }

    /// The port asked for.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::Addr(a) => a.0.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// The name, where the destination is one.
    #[must_use]
    pub const fn name(&self) -> Option<&HostName> {
        match self {
            Self::Addr(_) => None,
            Self::Name { host, .. } => Some(host),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(a) => a.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Why a text is no `host:port`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no `:port` at the end.
    #[error("{0:?} has no port: write HOST:PORT, with an IPv6 address in brackets")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port: use a number from 1 to 65535")]
    Port(String),
    /// The host part is no name and no address.
    #[error(transparent)]
    Host(#[from] HostNameError),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
            .ok_or_else(|| DestinationError::NoPort(text.to_owned()))?;
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => return Err(DestinationError::Port(port.to_owned())),
        };
        Ok(Self::parse_host(host, port)?)
    }
}

/// An address with a v4-mapped IPv6 form turned into IPv4 and no flow label or zone left over
/// from the mapping.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    }
}
