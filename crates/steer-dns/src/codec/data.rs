use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::layout;
use super::malformed::Malformed;
use super::name::Name;
use super::question::Kind;
use super::svcb::Svcb;
use super::wire::{Reader, Writer};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that the owner stands for.
    Cname(Name),
    /// The name of the address that the owner is.
    Ptr(Name),
    /// How an origin of https is reached.
    Https(Svcb),
    /// How a service is reached.
    Svcb(Svcb),
    /// Anything else; names in it are in full.
    Other {
        /// The type.
        kind: Kind,
        /// The data.
        bytes: Vec<u8>,
    },
}

impl Data {
    /// The type of a record with this data.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::A(_) => Kind::A,
            Self::Aaaa(_) => Kind::AAAA,
            Self::Cname(_) => Kind::CNAME,
            Self::Ptr(_) => Kind::PTR,
            Self::Https(_) => Kind::HTTPS,
            Self::Svcb(_) => Kind::SVCB,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// An address.
    #[must_use]
    pub const fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => Self::A(ip),
            IpAddr::V6(ip) => Self::Aaaa(ip),
        }
    }

    /// The addresses in it, hints included.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::A(ip) => vec![IpAddr::V4(*ip)],
            Self::Aaaa(ip) => vec![IpAddr::V6(*ip)],
            Self::Https(service) | Self::Svcb(service) => service.hints().collect(),
            Self::Cname(_) | Self::Ptr(_) | Self::Other { .. } => Vec::new(),
        }
    }

    pub(super) fn parse(kind: Kind, data: &mut Reader<'_>) -> Result<Self, Malformed> {
        let parsed = match kind {
            Kind::A => Self::A(data.array::<4>()?.into()),
            Kind::AAAA => Self::Aaaa(data.array::<16>()?.into()),
            Kind::CNAME => Self::Cname(data.name()?),
            Kind::PTR => Self::Ptr(data.name()?),
            Kind::HTTPS => Self::Https(Svcb::parse(data)?),
            Kind::SVCB => Self::Svcb(Svcb::parse(data)?),
            _ => Self::Other {
                kind,
                bytes: layout::expand(kind, data)?,
            },
        };
        if data.is_empty() {
            Ok(parsed)
        } else {
            Err(Malformed::Data)
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), Malformed> {
        match self {
            Self::A(ip) => writer.bytes(&ip.octets()),
            Self::Aaaa(ip) => writer.bytes(&ip.octets()),
            Self::Cname(name) | Self::Ptr(name) => writer.name(name),
            Self::Https(service) | Self::Svcb(service) => service.write_data(writer)?,
            Self::Other { kind: _, bytes } => writer.bytes(bytes),
        }
        Ok(())
    }
}
