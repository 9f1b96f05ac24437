//! Addresses that stand for the clients of connections on their way to the listener.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use steer_core::address::Family;
use steer_core::object::device_address;

/// An address of the device's network that stands for one client's connection.
///
/// ```
/// use steer_core::address::Family;
/// use steer_tun::flows::StandIn;
///
/// let first = StandIn::new(Family::V4, 0).expect("there are many");
/// assert_eq!(first.address(), "192.0.0.67:1024".parse()?);
/// assert_eq!(StandIn::at(first.address()), Some(first));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StandIn {
    family: Family,
    number: u32,
}

impl StandIn {
    /// How many there are of each family.
    pub const COUNT: u32 = HOSTS * PORTS;

    /// The one with this number.
    #[must_use]
    pub fn new(family: Family, number: u32) -> Option<Self> {
        (number < Self::COUNT).then_some(Self { family, number })
    }

    /// The one with this address; none where the address stands for nobody.
    #[must_use]
    pub fn at(address: SocketAddr) -> Option<Self> {
        let family = Family::of(address.ip());
        let host = match (device_address(family), address.ip()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                u32::from(ip).checked_sub(u32::from(first) + BEFORE)?
            }
            (IpAddr::V6(_), IpAddr::V6(ip)) => {
                let offset = u128::from(ip).checked_sub(u128::from(first_v6()))?;
                u32::try_from(offset).ok()?
            }
            _ => return None,
        };
        let port = u32::from(address.port().checked_sub(PORT_FIRST)?);
        if host >= HOSTS {
            return None;
        }
        Self::new(family, host * PORTS + port)
    }

    /// Its address.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        let (host, port) = (self.number / PORTS, self.number % PORTS);
        let ip = match device_address(self.family) {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + BEFORE + host).into()),
            IpAddr::V6(_) => IpAddr::V6((u128::from(first_v6()) + u128::from(host)).into()),
        };
        let port = u16::try_from(port).expect("fewer than there are ports") + PORT_FIRST;
        SocketAddr::new(ip, port)
    }
}

/// The first address of IPv6 that stands for somebody: `::1:0` of the device's network.
fn first_v6() -> Ipv6Addr {
    let IpAddr::V6(own) = device_address(Family::V6) else {
        unreachable!("an address of IPv6");
    };
    let [a, b, c, d, ..] = own.segments();
    Ipv6Addr::new(a, b, c, d, 0, 0, 1, 0)
}

/// How far from the device's own address the first one is: the gateway's is between them.
const BEFORE: u32 = 2;

/// Addresses: 192.0.0.67 to 192.0.0.126.
const HOSTS: u32 = 60;

/// The first port of each.
const PORT_FIRST: u16 = 1024;

/// Ports of each.
const PORTS: u32 = 65_536 - PORT_FIRST as u32;

#[cfg(test)]
mod tests {
    use steer_core::object::device_net;

    use super::*;

    #[test]
    fn every_number_has_an_address_of_the_device_s_network_that_leads_back_to_it() {
        for family in Family::ALL {
            let net = device_net(family);
            for number in (0..StandIn::COUNT).step_by(997).chain([StandIn::COUNT - 1]) {
                let stand_in = StandIn::new(family, number).unwrap();
                let address = stand_in.address();
                assert!(net.contains(address.ip()), "{address}");
                assert!(address.ip() != device_address(family), "{address}");
                assert_eq!(StandIn::at(address), Some(stand_in));
            }
        }
        assert_eq!(StandIn::new(Family::V4, StandIn::COUNT), None);
    }

    #[test]
    fn addresses_beside_them_stand_for_nobody() {
        for beside in [
            "192.0.0.65:2000",
            "192.0.0.66:2000",
            "192.0.0.127:2000",
            "192.0.0.67:1023",
            "10.0.0.1:2000",
            "[fd5e:7ee2:0:f8e4::1]:2000",
            "[fd5e:7ee2:0:f8e4::1:3c]:2000",
            "[fd5e:7ee2:0:f8e4::1:0]:1023",
            "[2001:db8::1]:2000",
            "0.0.0.0:0",
            "[::]:0",
        ] {
            assert_eq!(StandIn::at(beside.parse().unwrap()), None, "{beside}");
        }
    }
}
