//! Which station has which address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Mac;

/// What the stations have said of themselves; bounded, the first one goes first.
#[derive(Debug, Default)]
pub(super) struct Stations {
    by_address: HashMap<IpAddr, Mac>,
    /// The addresses in the order in which they were first heard of.
    order: VecDeque<IpAddr>,
}

impl Stations {
    /// Notes that a station has an address.
    pub(super) fn learn(&mut self, address: IpAddr, mac: Mac) {
        if !can_be_a_station_s(address) || self.by_address.insert(address, mac).is_some() {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > STATIONS_MOST
            && let Some(first) = self.order.pop_front()
        {
            self.by_address.remove(&first);
        }
    }

    /// Forgets who has an address, until they say so again.
    pub(super) fn forget(&mut self, address: IpAddr) {
        if self.by_address.remove(&address).is_some() {
            self.order.retain(|known| *known != address);
        }
    }

    /// Who has an address.
    pub(super) fn mac_of(&self, address: IpAddr) -> Option<Mac> {
        self.by_address.get(&address).copied()
    }

    /// Whether another station than this one has an address.
    pub(super) fn is_of_another(&self, address: IpAddr, mac: Mac) -> bool {
        self.mac_of(address).is_some_and(|owner| owner != mac)
    }
}

fn can_be_a_station_s(address: IpAddr) -> bool {
    let limited = matches!(address, IpAddr::V4(ip) if ip.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || limited)
}

/// How many addresses are remembered.
const STATIONS_MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_flood_of_addresses_leaves_a_bounded_table_that_has_the_last() {
        let mut stations = Stations::default();
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n));
        for n in 0..100_000 {
            stations.learn(address(n), [2, 0, 0, 0, 0, 1]);
        }
        assert_eq!(stations.by_address.len(), STATIONS_MOST);
        assert_eq!(stations.order.len(), STATIONS_MOST);
        assert!(stations.mac_of(address(99_999)).is_some());
        assert!(stations.mac_of(address(0)).is_none());
    }

    #[test]
    fn a_station_that_moves_is_known_where_it_is() {
        let mut stations = Stations::default();
        let address = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        stations.learn(address, [2, 0, 0, 0, 0, 1]);
        stations.learn(address, [2, 0, 0, 0, 0, 2]);
        assert_eq!(stations.mac_of(address), Some([2, 0, 0, 0, 0, 2]));
        assert_eq!(stations.order.len(), 1);
    }
}
