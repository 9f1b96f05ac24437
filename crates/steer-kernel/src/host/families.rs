//! Address families that are usable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use steer_core::address::Family;

/// The families on whose loopback address a socket can be bound.
pub(super) fn usable() -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|family| TcpListener::bind((loopback(*family), 0)).is_ok())
        .collect()
}

/// The families of which the kernel makes sockets: what a program could get out by.
pub(super) fn known() -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|family| {
            let domain = match family {
                Family::V4 => AddressFamily::Inet,
                Family::V6 => AddressFamily::Inet6,
            };
            socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).is_ok()
        })
        .collect()
}

const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}
