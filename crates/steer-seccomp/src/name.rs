//! Socket addresses as programs pass them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::libc;

/// An address as a program passed it, copied once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(Vec<u8>);

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Of the internet.
    Inet(SocketAddr),
    /// AF_UNSPEC.
    Unspecified,
    /// Another family, or too short to be one.
    Other,
}

impl Name {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What connect(2) takes it for.
    pub(crate) fn meaning(&self) -> Meaning {
        let Some(family) = self.family() else {
            return Meaning::Other;
        };
        match i32::from(family) {
            libc::AF_UNSPEC => Meaning::Unspecified,
            libc::AF_INET => self.v4().map_or(Meaning::Other, Meaning::Inet),
            libc::AF_INET6 => self.v6().map_or(Meaning::Other, Meaning::Inet),
            _ => Meaning::Other,
        }
    }

    /// What sending to it means: there the kernel takes AF_UNSPEC for AF_INET (`udp_sendmsg` of
    /// net/ipv4/udp.c).
    pub(crate) fn addressed(&self) -> Meaning {
        match self.meaning() {
            Meaning::Unspecified => self.v4().map_or(Meaning::Other, Meaning::Inet),
            other => other,
        }
    }

    fn family(&self) -> Option<u16> {
        Some(u16::from_ne_bytes([*self.0.first()?, *self.0.get(1)?]))
    }

    fn port(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.0.get(2)?, *self.0.get(3)?]))
    }

    /// `struct sockaddr_in`: ip(7).
    fn v4(&self) -> Option<SocketAddr> {
        self.0.get(..16)?;
        let ip: [u8; 4] = self.0.get(4..8)?.try_into().ok()?;
        Some(SocketAddr::new(IpAddr::from(ip), self.port()?))
    }

    /// `struct sockaddr_in6`: ipv6(7); the kernel takes it without its zone as well (RFC 2133).
    fn v6(&self) -> Option<SocketAddr> {
        let ip: [u8; 16] = self.0.get(8..24)?.try_into().ok()?;
        let zone = self.0.get(24..28).and_then(|zone| zone.try_into().ok());
        let zone = zone.map_or(0, u32::from_ne_bytes);
        let ip = Ipv6Addr::from(ip);
        Some(SocketAddrV6::new(ip, self.port()?, 0, zone).into())
    }

    /// An address as getpeername(2) writes it.
    pub(crate) fn of(address: SocketAddr) -> Self {
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let family = u16::try_from(family).expect("families are small");
        let mut bytes = family.to_ne_bytes().to_vec();
        bytes.extend(address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => {
                bytes.extend(address.ip().octets());
                bytes.extend([0; 8]);
            }
            SocketAddr::V6(address) => {
                bytes.extend(address.flowinfo().to_ne_bytes());
                bytes.extend(address.ip().octets());
                bytes.extend(address.scope_id().to_ne_bytes());
            }
        }
        Self(bytes)
    }

    /// An address in the form that a socket of this family takes; an IPv4 address is mapped for
    /// IPv6.
    pub(crate) fn for_socket(address: SocketAddr, of_v6: bool) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if of_v6 => IpAddr::V6(Ipv4Addr::to_ipv6_mapped(&ip)),
            ip => ip,
        };
        match address {
            SocketAddr::V6(_) => Self::of(address),
            SocketAddr::V4(_) => Self::of(SocketAddr::new(ip, address.port())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "203.0.113.7:443",
            "[2001:db8::1]:80",
            "[fe80::1%3]:22",
            "[::ffff:203.0.113.7]:443",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Name::of(address).meaning(), Meaning::Inet(address));
        }
        let v4: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let mapped = "[::ffff:203.0.113.7]:443".parse().unwrap();
        let read = Name::for_socket(v4, true).meaning();
        assert_eq!(read, Meaning::Inet(mapped));
        assert_eq!(Name::for_socket(v4, false).meaning(), Meaning::Inet(v4));
    }

    #[test]
    fn what_the_kernel_would_not_take_is_no_address() {
        let v4 = Name::of("203.0.113.7:443".parse().unwrap());
        let v6 = Name::of("[2001:db8::1]:443".parse().unwrap());
        let cut = |name: &Name, to: usize| Name::new(name.bytes()[..to].to_vec()).meaning();
        assert_eq!(cut(&v4, 15), Meaning::Other);
        assert_eq!(cut(&v6, 23), Meaning::Other);
        assert!(matches!(cut(&v6, 24), Meaning::Inet(_)));
        assert_eq!(Name::new(vec![1, 0, b'/']).meaning(), Meaning::Other);
        assert_eq!(Name::new(vec![1]).meaning(), Meaning::Other);
    }

    #[test]
    fn no_family_disconnects_and_is_an_address_to_send_to() {
        let address: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let mut bytes = Name::of(address).bytes().to_vec();
        bytes[..2].fill(0);
        let name = Name::new(bytes);
        assert_eq!(name.meaning(), Meaning::Unspecified);
        assert_eq!(name.addressed(), Meaning::Inet(address));
    }
}
