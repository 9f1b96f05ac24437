//! Answers that would lead a program to where its name has no business.
//!
//! A public name that resolves to this host lets whoever owns it speak to local services in the
//! name of a web page (DNS rebinding). Private networks (RFC 1918, RFC 4193) are allowed, since
//! names of the own network have such addresses.

use std::net::{IpAddr, Ipv4Addr};

use steer_core::address::{Cidr, HostName, HostPattern};
use steer_core::intent::Intent;
use steer_core::plan::Plan;

use crate::codec::{Message, Name};
use crate::local;

/// Where names have no business: public ones at this host or its link, and any at an address that
/// is made up.
///
/// For whoever looks a name up in a program's place, where no answer passes by here.
///
/// ```
/// use steer_core::address::HostName;
/// use steer_core::{instance::Instance, intent::{Intent, Scope}, method::Method, plan::Plan};
///
/// let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
/// intent.resolve.rebind = vec!["*.dev.example".parse().unwrap()];
/// let rebinding = steer_dns::Rebinding::of(&intent, &Plan::new(Method::Tproxy));
/// let astray = |name, ip: &str| {
///     rebinding.leads_astray(&HostName::new(name).unwrap(), ip.parse().unwrap())
/// };
/// assert!(astray("example.com", "127.0.0.1"));
/// assert!(!astray("localhost", "127.0.0.1") && !astray("example.com", "192.0.2.1"));
/// assert!(!astray("shop.dev.example", "127.0.0.1"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rebinding {
    pools: Vec<Cidr>,
    /// Names that may lead to this host.
    allowed: Vec<HostPattern>,
}

impl Rebinding {
    /// What an intent allows, for a plan that may hold the method `dns`, which makes addresses up
    /// of its own.
    #[must_use]
    pub fn of(intent: &Intent, plan: &Plan) -> Self {
        if local::serves(plan) {
            Self::alone(intent)
        } else {
            Self::for_intent(intent)
        }
    }

    /// What an intent allows by itself.
    pub(crate) fn for_intent(intent: &Intent) -> Self {
        let pools = intent.resolve.fake.iter().flat_map(|fake| &fake.pools);
        Self {
            pools: pools.copied().collect(),
            allowed: intent.resolve.rebind.clone(),
        }
    }

    /// What an intent allows for the method `dns`.
    pub(crate) fn alone(intent: &Intent) -> Self {
        Self {
            pools: vec![local::range()],
            allowed: intent.resolve.rebind.clone(),
        }
    }

    /// Whether a name has no business at an address.
    #[must_use]
    pub fn leads_astray(&self, name: &HostName, address: IpAddr) -> bool {
        self.astray(Some(name), address.to_canonical())
    }

    /// The first address of an answer that it must not have.
    pub(crate) fn forbidden(&self, asked: &Name, answer: &Message) -> Option<IpAddr> {
        let host = asked.service_host();
        let records = answer.answers.iter().chain(&answer.additionals);
        records
            .flat_map(|record| record.data.addresses())
            .map(|address| address.to_canonical())
            .find(|address| self.astray(host.as_ref(), *address))
    }

    fn astray(&self, host: Option<&HostName>, address: IpAddr) -> bool {
        let may = |host: &HostName| {
            is_local(host)
                || self.allowed.iter().any(|pattern| pattern.matches(host))
                || (is_listing(host) && is_verdict(address))
        };
        self.pools.iter().any(|pool| pool.contains(address))
            || (is_this_host(address) && !host.is_some_and(may))
    }
}

/// Whether a name asks a list for what it says of an address: the address comes first, backwards,
/// in decimal bytes or hexadecimal nibbles (RFC 5782, sections 2.1 and 2.4).
fn is_listing(host: &HostName) -> bool {
    let labels: Vec<&str> = host.as_str().split('.').collect();
    let all = |count: usize, is_part: fn(&str) -> bool| {
        // The list has a name of its own.
        labels.len() > count + 1 && labels[..count].iter().all(|label| is_part(label))
    };
    let is_byte = |label: &str| {
        let byte = label.parse::<u8>().ok();
        byte.is_some_and(|byte| byte.to_string() == label)
    };
    let is_nibble =
        |label: &str| label.len() == 1 && label.bytes().all(|byte| byte.is_ascii_hexdigit());
    all(4, is_byte) || all(32, is_nibble)
}

/// Whether an address may be what a list says: one of 127.0.0.0/8, by custom none of which is the
/// one at which the services of this host are (RFC 5782, section 2.3).
fn is_verdict(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(ip) if ip.is_loopback() && ip != Ipv4Addr::LOCALHOST)
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

    fn rebinding() -> Rebinding {
        Rebinding {
            pools: ["198.18.0.0/15", "fd5e::/64"]
                .map(|p| p.parse().unwrap())
                .to_vec(),
            allowed: vec!["*.dev.example".parse().unwrap()],
        }
    }

    fn refused(asked: &str, data: Data) -> bool {
        let mut message = Message::new(Header::query(1).answer(ResponseCode::NO_ERROR));
        message.answers = vec![Record {
            owner: Name::root(),
            class: Class::IN,
            ttl: 1,
            data,
        }];
        let asked = asked.parse().unwrap();
        rebinding().forbidden(&asked, &message).is_some()
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
    fn what_a_list_says_of_an_address_is_delivered() {
        let refused = |asked: &str, ip: &str| refused(asked, Data::address(ip.parse().unwrap()));
        let nibbles = format!("{}zen.example", "0.".repeat(31) + "f.");
        for asked in ["2.0.0.127.zen.example", "1.2.0.192.b.l.example", &nibbles] {
            for verdict in ["127.0.0.2", "127.0.0.11", "127.255.255.254"] {
                assert!(!refused(asked, verdict), "{asked} is {verdict}");
            }
            for other in [
                "127.0.0.1",
                "0.0.0.0",
                "::1",
                "169.254.169.254",
                "198.18.0.1",
            ] {
                assert!(refused(asked, other), "{asked} is {other}");
            }
        }
        for asked in [
            "0.0.127.zen.example",
            "256.0.0.127.zen.example",
            "02.0.0.127.zen.example",
            "www.2.0.0.127.example",
            "2.0.0.127.example",
        ] {
            assert!(refused(asked, "127.0.0.2"), "{asked}");
        }
    }

    #[test]
    fn names_that_are_written_may_lead_to_this_host_and_not_to_a_made_up_address() {
        let refused = |asked: &str, ip: &str| refused(asked, Data::address(ip.parse().unwrap()));
        for own in ["127.0.0.1", "::1", "169.254.1.1"] {
            assert!(!refused("shop.dev.example", own), "{own}");
            assert!(refused("dev.example.org", own), "{own}");
        }
        assert!(refused("shop.dev.example", "198.18.0.7"));
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
