use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::Cidr;

/// A network whose addresses stand for names.
///
/// Its first two addresses (the network's, and one for whoever serves it) and its last (the
/// broadcast address) have no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool(Cidr);

impl Pool {
    pub(crate) const fn new(net: Cidr) -> Self {
        Self(net)
    }

    pub(crate) const fn net(&self) -> Cidr {
        self.0
    }

    /// How many names it has room for.
    pub(crate) fn places(&self) -> u32 {
        let host_bits = self.0.family().bits() - self.0.prefix();
        let size = 1_u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX);
        let places = size.saturating_sub(u128::from(FIRST) + 1);
        u32::try_from(places).unwrap_or(u32::MAX).min(MOST)
    }

    /// The address of a place, which is below `places`.
    pub(crate) fn address(&self, place: u32) -> IpAddr {
        match self.0.address() {
            IpAddr::V4(net) => {
                Ipv4Addr::from_bits(net.to_bits().saturating_add(FIRST + place)).into()
            }
            IpAddr::V6(net) => {
                let offset = u128::from(FIRST) + u128::from(place);
                Ipv6Addr::from_bits(net.to_bits().saturating_add(offset)).into()
            }
        }
    }

    /// The place of an address.
    pub(crate) fn place(&self, address: IpAddr) -> Option<u32> {
        let offset = match (self.0.address(), address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                u128::from(ip.to_bits().checked_sub(net.to_bits())?)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => ip.to_bits().checked_sub(net.to_bits())?,
            _ => return None,
        };
        let place = u32::try_from(offset.checked_sub(FIRST.into())?).ok()?;
        (place < self.places()).then_some(place)
    }
}

/// The first offset that has a place.
const FIRST: u32 = 2;

/// As many names as there are addresses in the default pool, which bounds memory where a pool is
/// larger.
const MOST: u32 = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(net: &str) -> Pool {
        Pool::new(net.parse().unwrap())
    }

    #[test]
    fn the_edges_of_a_pool_have_no_place() {
        let small = pool("198.18.0.0/29");
        assert_eq!(small.places(), 5);
        let places = (0..8).map(|last| small.place(IpAddr::from([198, 18, 0, last])));
        let expected = [
            None,
            None,
            Some(0),
            Some(1),
            Some(2),
            Some(3),
            Some(4),
            None,
        ];
        assert_eq!(places.collect::<Vec<_>>(), expected);
        assert_eq!(small.place("198.17.255.255".parse().unwrap()), None);
        assert_eq!(small.place("198.18.0.8".parse().unwrap()), None);
        for (net, places) in [
            ("198.18.0.0/15", MOST - 3),
            ("198.18.0.0/30", 1),
            ("198.18.0.0/31", 0),
            ("198.18.0.1/32", 0),
            ("fd5e::/64", MOST),
            ("::/0", MOST),
            ("fd5e::/127", 0),
        ] {
            assert_eq!(pool(net).places(), places, "{net}");
        }
    }

    #[test]
    fn a_place_and_its_address_are_each_others() {
        for net in ["198.18.0.0/15", "fd5e:7ee2:0:f8e1::/64"] {
            let pool = pool(net);
            for place in [0, 1, 255, 256, pool.places() - 1] {
                let address = pool.address(place);
                assert!(pool.net().contains(address), "{net} {place}");
                assert_eq!(pool.place(address), Some(place), "{net}");
            }
        }
    }
}
