//! The network of the command: what is on `lo`, and which addresses are whose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::{Cidr, Family};
use steer_core::host::Host;

/// The families that the command has: as this host, IPv4 always.
///
/// A program that finds no IPv6 here finds none there, and does not wait for what cannot be dialled.
pub(crate) fn families(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|family| *family == Family::V4 || host.families.contains(family))
        .collect()
}

/// The address of `lo` from which programs connect to others.
pub(crate) const fn address(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(SOURCE_V4),
        Family::V6 => IpAddr::V6(SOURCE_V6),
    }
}

/// The addresses at which the command reaches itself by name: 127.0.0.0/8 or ::1.
pub(crate) fn loopback(family: Family) -> Cidr {
    literal(match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    })
}

/// Groups, and everyone on a network: no connection goes there.
pub(crate) fn to_many(family: Family) -> Vec<Cidr> {
    match family {
        Family::V4 => vec![literal("224.0.0.0/4"), literal("255.255.255.255/32")],
        Family::V6 => vec![literal("ff00::/8")],
    }
}

/// Addresses of a link, which mean nothing without one.
pub(crate) fn to_link(family: Family) -> Option<Cidr> {
    (family == Family::V6).then(|| literal("fe80::/10"))
}

fn literal(net: &str) -> Cidr {
    net.parse().expect("a literal network is valid")
}

/// An address that no destination has (RFC 7335, RFC 6890).
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);

/// One of our own local prefix (RFC 4193). Its label has getaddrinfo prefer IPv4 for destinations
/// that have both (RFC 6724): nobody knows whether IPv6 gets anywhere from here.
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0xfd5e, 0x7ee2, 0, 0xf8e2, 0, 0, 0, 2);
