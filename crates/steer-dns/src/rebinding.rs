//! Answers that would lead a program to where its name has no business.
//!
//! A public name that resolves to this host lets whoever owns it speak to local services in the
//! name of a web page (DNS rebinding). Private networks (RFC 1918, RFC 4193) are allowed, since
//! names of the own network have such addresses.

use std::net::IpAddr;

use steer_core::address::{Cidr, HostName};

use crate::codec::{Message, Name};

/// Whether a name has no business at an address: a public name at this host or its link, or any
/// name at an address that is made up.
///
/// For whoever looks a name up in a program's place, where no answer passes by here.
///
/// ```
/// use steer_core::address::HostName;
///
/// let host = |name| HostName::new(name).unwrap();
/// let astray = |name, ip: &str| {
///     steer_dns::leads_astray(&host(name), ip.parse().unwrap(), &[])
/// };
/// assert!(astray("example.com", "127.0.0.1"));
/// assert!(!astray("localhost", "127.0.0.1") && !astray("example.com", "192.0.2.1"));
/// ```
#[must_use]
pub fn leads_astray(name: &HostName, address: IpAddr, pools: &[Cidr]) -> bool {
    astray(is_local(name), address.to_canonical(), pools)
}

/// The first address of an answer that it must not have.
pub(crate) fn forbidden(asked: &Name, answer: &Message, pools: &[Cidr]) -> Option<IpAddr> {
    let local = asked.service_host().is_some_and(|host| is_local(&host));
    let records = answer.answers.iter().chain(&answer.additionals);
    records
        .flat_map(|record| record.data.addresses())
        .map(|address| address.to_canonical())
        .find(|address| astray(local, *address, pools))
}

fn astray(local: bool, address: IpAddr, pools: &[Cidr]) -> bool {
    pools.iter().any(|pool| pool.contains(address)) || (!local && is_this_host(address))
}

/// Addresses that mean this host or its link: 0.0.0.0 connects to loopback.
fn is_this_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
    }
}

/// Names that nobody can register: single labels, and what is set aside for local use (RFC 6761,
/// RFC 6762, RFC 8375, and `internal` by ICANN).
pub(crate) fn is_local(host: &HostName) -> bool {
    let host = host.as_str();
    let below = |apex: &str| {
        host.strip_suffix(apex)
            .is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    !host.contains('.') || LOCAL.iter().any(|apex| below(apex))
}

const LOCAL: [&str; 4] = ["localhost", "local", "home.arpa", "internal"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Class, Data, Header, Param, Record, ResponseCode, Svcb};

    fn refused(asked: &str, data: Data) -> bool {
        let mut message = Message::new(Header::query(1).answer(ResponseCode::NO_ERROR));
        message.answers = vec![Record {
            owner: Name::root(),
            class: Class::IN,
            ttl: 1,
            data,
        }];
        let pools = ["198.18.0.0/15", "fd5e::/64"].map(|p| p.parse().unwrap());
        forbidden(&asked.parse().unwrap(), &message, &pools).is_some()
    }

    #[test]
    fn a_public_name_does_not_lead_to_this_host() {
        for address in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "169.254.169.254",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "198.18.0.7",
            "198.19.255.255",
            "fd5e::7",
        ] {
            let data = || Data::address(address.parse().unwrap());
            assert!(refused("evil.example", data()), "{address}");
            let ours = address.starts_with("198") || address.starts_with("fd5e");
            assert_eq!(refused("printer.local", data()), ours, "{address}");
        }
        for address in [
            "192.0.2.1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert!(
                !refused("a.example", Data::address(address.parse().unwrap())),
                "{address}"
            );
        }
    }

    #[test]
    fn a_hint_is_an_address_too() {
        let service = Svcb {
            priority: 1,
            target: Name::root(),
            params: vec![Param::Ipv6Hint(vec!["::1".parse().unwrap()])],
        };
        assert!(refused("evil.example", Data::Https(service)));
    }

    #[test]
    fn only_names_that_nobody_can_register_are_local() {
        let local = |host: &str| is_local(&HostName::new(host).unwrap());
        for host in [
            "localhost",
            "a.localhost",
            "myhost",
            "metadata.google.internal",
            "a.home.arpa",
        ] {
            assert!(local(host), "{host}");
        }
        for host in [
            "notlocalhost.example",
            "evillocal.com",
            "local.example",
            "a.xlocal",
        ] {
            assert!(!local(host), "{host}");
        }
    }
}
