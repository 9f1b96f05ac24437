use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::malformed::Malformed;
use super::name::Name;
use super::wire::{Reader, Writer};

/// How a service is reached (RFC 9460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svcb {
    /// Lower is better; 0 makes the target another name for the service.
    pub priority: u16,
    /// Who serves it; the root means the owner of the record.
    pub target: Name,
    /// Parameters in ascending order of their keys.
    pub params: Vec<Param>,
}

/// A parameter of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// Addresses of the target.
    Ipv4Hint(Vec<Ipv4Addr>),
    /// Addresses of the target.
    Ipv6Hint(Vec<Ipv6Addr>),
    /// Any other.
    Other {
        /// Which.
        key: u16,
        /// Its value as it travels.
        value: Vec<u8>,
    },
}

impl Param {
    /// Its number.
    #[must_use]
    pub const fn key(&self) -> u16 {
        match self {
            Self::Ipv4Hint(_) => IPV4_HINT,
            Self::Ipv6Hint(_) => IPV6_HINT,
            Self::Other { key, .. } => *key,
        }
    }

    fn parse(key: u16, value: &mut Reader<'_>) -> Result<Self, Malformed> {
        let hints = !value.is_empty();
        match key {
            IPV4_HINT if hints => {
                let mut addresses = Vec::new();
                while !value.is_empty() {
                    addresses.push(Ipv4Addr::from(value.array::<4>()?));
                }
                Ok(Self::Ipv4Hint(addresses))
            }
            IPV6_HINT if hints => {
                let mut addresses = Vec::new();
                while !value.is_empty() {
                    addresses.push(Ipv6Addr::from(value.array::<16>()?));
                }
                Ok(Self::Ipv6Hint(addresses))
            }
            IPV4_HINT | IPV6_HINT => Err(Malformed::Data),
            _ => Ok(Self::Other {
                key,
                value: value.rest().to_vec(),
            }),
        }
    }

    fn write(&self, writer: &mut Writer) -> Result<(), Malformed> {
        writer.short(self.key());
        writer.sized(|writer| match self {
            Self::Ipv4Hint(addresses) => {
                for address in addresses {
                    writer.bytes(&address.octets());
                }
            }
            Self::Ipv6Hint(addresses) => {
                for address in addresses {
                    writer.bytes(&address.octets());
                }
            }
            Self::Other { key: _, value } => writer.bytes(value),
        })
    }
}

impl Svcb {
    /// The addresses that it names.
    pub fn hints(&self) -> impl Iterator<Item = IpAddr> {
        self.params.iter().flat_map(|param| match param {
            Param::Ipv4Hint(all) => all.iter().copied().map(IpAddr::V4).collect::<Vec<_>>(),
            Param::Ipv6Hint(all) => all.iter().copied().map(IpAddr::V6).collect(),
            Param::Other { .. } => Vec::new(),
        })
    }

    pub(super) fn parse(data: &mut Reader<'_>) -> Result<Self, Malformed> {
        let priority = data.short()?;
        let target = data.name()?;
        let mut params: Vec<Param> = Vec::new();
        while !data.is_empty() {
            let key = data.short()?;
            let length = data.short()?;
            let mut value = data.part(usize::from(length))?;
            // Out of order or twice: the record is malformed (RFC 9460, section 2.2).
            if params.last().is_some_and(|last| last.key() >= key) {
                return Err(Malformed::Data);
            }
            params.push(Param::parse(key, &mut value)?);
        }
        Ok(Self {
            priority,
            target,
            params,
        })
    }

    pub(super) fn write_data(&self, writer: &mut Writer) -> Result<(), Malformed> {
        let Self {
            priority,
            target,
            params,
        } = self;
        writer.short(*priority);
        writer.whole_name(target);
        params.iter().try_for_each(|param| param.write(writer))
    }
}

const IPV4_HINT: u16 = 4;

const IPV6_HINT: u16 = 6;
