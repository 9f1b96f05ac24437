use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Family;

/// A network in CIDR form, without host bits.
///
/// ```
/// use steer_core::address::Cidr;
/// let net: Cidr = "10.0.0.0/8".parse().unwrap();
/// assert!(net.contains("10.1.2.3".parse().unwrap()));
/// assert!("10.0.0.1/8".parse::<Cidr>().unwrap_err().to_string().contains("10.0.0.0/8"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is no IP address.
    #[error("{0:?} is not an IP network: write it like 10.0.0.0/8 or 2001:db8::/32")]
    Address(String),
    /// The prefix is no number, or longer than the address.
    #[error("{text:?}: the prefix length of an {family} network is a number from 0 to {max}", max = family.bits())]
    Prefix {
        /// The text given.
        text: String,
        /// The family of its address.
        family: Family,
    },
    /// Bits are set behind the prefix.
    #[error("{text:?} has bits set behind its prefix; did you mean {meant}?")]
    HostBits {
        /// The text given.
        text: String,
        /// The network that holds the address.
        meant: Cidr,
    },
}

impl Cidr {
    /// One address as a network.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::trusted(address, Family::of(address).bits())
    }

    /// Every address of a family.
    #[must_use]
    pub const fn all(family: Family) -> Self {
        match family {
            Family::V4 => Self::trusted(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
            Family::V6 => Self::trusted(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0),
        }
    }

    pub(crate) const fn trusted(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// The first address of the network.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The family of the network.
    #[must_use]
    pub const fn family(self) -> Family {
        match self.address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Whether an address (a v4-mapped one counts as IPv4) lies in the network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                mask(u128::from(net.to_bits()), self.prefix, 32)
                    == mask(u128::from(ip.to_bits()), self.prefix, 32)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                net.to_bits() == mask(ip.to_bits(), self.prefix, 128)
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = address
            .parse()
            .map_err(|_| CidrError::Address(text.to_owned()))?;
        let family = match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let bits = family.bits();
        let prefix = match prefix {
            None => bits,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|n| *n <= bits && !digits.starts_with('+'))
                .ok_or_else(|| CidrError::Prefix {
                    text: text.to_owned(),
                    family,
                })?,
        };
        let meant = match ip {
            IpAddr::V4(v4) => {
                let low = mask(u128::from(v4.to_bits()), prefix, 32);
                IpAddr::V4(u32::try_from(low).expect("32 bits were masked").into())
            }
            IpAddr::V6(v6) => IpAddr::V6(mask(v6.to_bits(), prefix, 128).into()),
        };
        let meant = Self::trusted(meant, prefix);
        if meant.address == ip {
            Ok(meant)
        } else {
            Err(CidrError::HostBits {
                text: text.to_owned(),
                meant,
            })
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(net: Cidr) -> Self {
        net.to_string()
    }
}

fn mask(value: u128, prefix: u8, bits: u8) -> u128 {
    let host_bits = u32::from(bits - prefix);
    if host_bits >= 128 {
        0
    } else {
        value >> host_bits << host_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_is_too_long_is_refused_with_the_limit() {
        let error = "10.0.0.0/33".parse::<Cidr>().unwrap_err();
        assert!(error.to_string().contains("0 to 32"), "{error}");
        assert!("::/129".parse::<Cidr>().is_err());
        assert!("x/8".parse::<Cidr>().is_err());
        assert!("10.0.0.0/".parse::<Cidr>().is_err());
    }

    #[test]
    fn a_zero_prefix_holds_its_whole_family_and_no_other() {
        let v6: Cidr = "::/0".parse().unwrap();
        assert!(v6.contains("2001:db8::1".parse().unwrap()));
        assert!(!v6.contains("10.0.0.1".parse().unwrap()));
        assert!(!v6.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(Cidr::all(Family::V4).contains("::ffff:10.0.0.1".parse().unwrap()));
    }
}
