//! Whose packets are taken, and where to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::Family;
use steer_core::object::device_address;

use super::own::Own;
use crate::packet::{Parsed, Reason};
use crate::wire::Hop;

/// Whose packets are taken, and where to.
#[derive(Debug)]
pub(super) struct Ends {
    /// Addresses of the engine on the link.
    here: Vec<IpAddr>,
    /// Addresses that nobody on the link may have but this host, which has another way.
    own: Option<Own>,
}

impl Ends {
    pub(super) const fn new(here: Vec<IpAddr>) -> Self {
        Self { here, own: None }
    }

    /// Refuses what this host sends by the link, but for what is for the engine itself.
    pub(super) fn refuse(&mut self, own: Own) {
        self.own = Some(own);
    }

    /// Looks again which addresses this host has.
    pub(super) fn refresh(&self) {
        if let Some(own) = &self.own {
            own.refresh();
        }
    }

    /// Whether a program can have sent a packet, and the engine can go where it is to go; said is
    /// whether it goes to the engine itself.
    pub(super) fn check(&self, parsed: &Parsed, hop: Hop) -> Result<bool, Reason> {
        let Parsed {
            source,
            destination,
            ..
        } = *parsed;
        let is_here = self.here.contains(&destination);
        // A program of this host has it where the device is its only way to anywhere.
        let is_own = hop == Hop::Host && is_listener(source);
        let is_of_the_link = is_here && is_link_local(source);
        let may_send = is_of_a_host(source) || is_of_the_link;
        if !may_send || self.here.contains(&source) || (is_of_device(source) && !is_own) {
            return Err(Reason::Source);
        }
        if !is_here && self.own.as_ref().is_some_and(|own| own.has(source)) {
            return Err(Reason::Source);
        }
        if !is_here && (!is_of_a_host(destination) || is_of_device(destination)) {
            return Err(Reason::Destination);
        }
        Ok(is_here)
    }
}

/// Whether it is the address of the engine's listeners.
pub(super) fn is_listener(address: IpAddr) -> bool {
    address == device_address(Family::of(address))
}

/// Whether it is of the device's own network.
pub(super) fn is_of_device(address: IpAddr) -> bool {
    match (address, device_address(Family::of(address))) {
        (IpAddr::V4(ip), IpAddr::V4(own)) => u32::from(ip) >> 6 == u32::from(own) >> 6,
        (IpAddr::V6(ip), IpAddr::V6(own)) => u128::from(ip) >> 64 == u128::from(own) >> 64,
        _ => false,
    }
}

/// Whether it is an address that one host can have, beyond its own link.
fn is_of_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            // 0.0.0.0/8 is this network, whichever that is (RFC 1122, section 3.2.1.3).
            ip.octets()[0] != 0
                && !ip.is_loopback()
                && !ip.is_multicast()
                && ip != Ipv4Addr::BROADCAST
        }
        IpAddr::V6(ip) => {
            !ip.is_loopback()
                && !ip.is_unspecified()
                && !ip.is_multicast()
                && !is_link_local(address)
                && !stands_for_v4(ip)
        }
    }
}

/// Whether it says nothing beyond one link.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether sockets take it for an address of IPv4: none of these are on any wire (RFC 4291, section
/// 2.5.5).
fn stands_for_v4(ip: Ipv6Addr) -> bool {
    ip.segments()[..5] == [0; 5] && matches!(ip.segments()[5], 0 | 0xffff)
}

#[cfg(test)]
mod tests {
    use steer_core::object::device_net;

    use super::*;
    use crate::packet::Transport;

    fn checked(source: &str, destination: &str, hop: Hop) -> Result<bool, Reason> {
        let here = ["192.0.0.66", "fe80::1"].map(|ip| ip.parse().unwrap());
        checked_by(&Ends::new(here.to_vec()), source, destination, hop)
    }

    fn checked_by(ends: &Ends, source: &str, destination: &str, hop: Hop) -> Result<bool, Reason> {
        let source: IpAddr = source.parse().unwrap();
        let parsed = Parsed {
            family: Family::of(source),
            source,
            destination: destination.parse().unwrap(),
            hops: 64,
            transport: Transport::Tcp,
            start: 20,
            end: 40,
            fragment: None,
        };
        ends.check(&parsed, hop)
    }

    #[test]
    fn what_this_host_sends_by_a_bridge_comes_to_the_engine_itself_and_no_further() {
        let [gateway, own] = ["10.9.0.1", "10.9.0.9"].map(|ip| ip.parse().unwrap());
        let mut ends = Ends::new(vec![gateway]);
        ends.refuse(Own::known(vec![own]));
        let by_a_bridge = Hop::Station([2; 6]);
        let sent = |to: &str| checked_by(&ends, "10.9.0.9", to, by_a_bridge);
        assert_eq!(sent("203.0.113.7"), Err(Reason::Source));
        assert_eq!(sent("10.9.0.1"), Ok(true));
        let of_another = checked_by(&ends, "10.9.0.8", "203.0.113.7", by_a_bridge);
        assert_eq!(of_another, Ok(false));
    }

    #[test]
    fn the_device_s_network_is_the_one_that_plans_write() {
        for family in Family::ALL {
            let net = device_net(family);
            for address in [
                "192.0.0.63",
                "192.0.0.64",
                "192.0.0.127",
                "192.0.0.128",
                "fd5e:7ee2:0:f8e4::",
                "fd5e:7ee2:0:f8e4:ffff::1",
                "fd5e:7ee2:0:f8e5::",
            ] {
                let address: IpAddr = address.parse().unwrap();
                if Family::of(address) == family {
                    assert_eq!(is_of_device(address), net.contains(address), "{address}");
                }
            }
        }
    }

    #[test]
    fn packets_of_nobody_or_to_nobody_are_refused() {
        let nobody = [
            ("10.0.0.2", "0.1.2.3"),
            ("10.0.0.2", "127.0.0.1"),
            ("10.0.0.2", "224.0.0.251"),
            ("10.0.0.2", "255.255.255.255"),
            ("10.0.0.2", "192.0.0.80"),
            ("2001:db8::2", "::1"),
            ("2001:db8::2", "::"),
            ("2001:db8::2", "ff02::1"),
            ("2001:db8::2", "fe80::3"),
            ("2001:db8::2", "::ffff:127.0.0.1"),
            ("2001:db8::2", "::10.0.0.1"),
            ("2001:db8::2", "fd5e:7ee2:0:f8e4::1"),
        ];
        for (somebody, nobody) in nobody {
            let to = checked(somebody, nobody, Hop::Host);
            assert_eq!(to, Err(Reason::Destination), "{nobody}");
            let from = checked(nobody, somebody, Hop::Station([2; 6]));
            assert_eq!(from, Err(Reason::Source), "{nobody}");
        }
        let somebody = [
            ("10.0.0.2", "203.0.113.7"),
            ("192.0.0.65", "203.0.113.7"),
            ("fd5e:7ee2:0:f8e4::1", "2001:db8::7"),
        ];
        for (source, destination) in somebody {
            let checked = checked(source, destination, Hop::Host);
            assert_eq!(checked, Ok(false), "{source}");
        }
        for (source, here) in [("10.0.0.2", "192.0.0.66"), ("fe80::2", "fe80::1")] {
            assert_eq!(checked(source, here, Hop::Host), Ok(true), "{source}");
        }
    }
}
