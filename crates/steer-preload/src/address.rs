//! Addresses as the library says them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::wire::Address;

/// An address for the library.
pub(crate) fn to_wire(address: SocketAddr) -> Address {
    let mut ip = [0; 16];
    let (version, scope) = match address {
        SocketAddr::V4(v4) => {
            ip[..4].copy_from_slice(&v4.ip().octets());
            (4, 0)
        }
        SocketAddr::V6(v6) => {
            ip = v6.ip().octets();
            (6, v6.scope_id())
        }
    };
    Address {
        version,
        port: address.port(),
        scope,
        ip,
    }
}

/// An address of the library; nothing where it said none.
pub(crate) fn from_wire(address: &Address) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = address.ip;
    match address.version {
        4 => Some((IpAddr::from(Ipv4Addr::new(a, b, c, d)), address.port).into()),
        6 => {
            let ip = Ipv6Addr::from(address.ip);
            Some(SocketAddrV6::new(ip, address.port, 0, address.scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        for text in [
            "203.0.113.7:443",
            "[2001:db8::1]:53",
            "[fe80::1%3]:1",
            "[::ffff:192.0.2.1]:80",
        ] {
            let address = text.parse().unwrap();
            assert_eq!(from_wire(&to_wire(address)), Some(address));
        }
        assert_eq!(from_wire(&Address::default()), None);
    }
}
