//! The filter beside a naive reading of the same hooks.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv6Addr};

use steer_core::address::{Cidr, IdRange, PortRange, Protocol};
use steer_core::intent::{Dns, OnFailure, Quic, Scope, Traffic};
use steer_core::key::Key;
use steer_core::mark::Mark;
use steer_core::object::{Hooks, Reach};
use steer_core::symbol::{Followed, NameSet};

use super::nets::nets;
use super::ports::{has, ports};
use super::*;
use crate::abi::{
    Config, DO_CLOSED, DO_DNS_TCP, DO_DNS_UDP, DO_HERE, DO_LEAVE_DNS, DO_LEAVE_UDP, DO_NETS,
    DO_OTHERS, DO_REFUSE_QUIC, DO_TAKE, DO_TCP, DO_UDP, LIST, NET_LEFT, NET_MEANT, NET_REFUSED,
};

fn hooks() -> Hooks {
    Hooks {
        cgroups: Vec::new(),
        scope: Scope::default(),
        within: Vec::new(),
        traffic: Traffic::default(),
        names: Followed::new(),
        made_up: Vec::new(),
        reach: Reach::Here,
        families: Vec::new(),
        entrances: Vec::new(),
        bypass: Mark::BYPASS,
        on_failure: OnFailure::Closed,
        takes: true,
    }
}

fn outbound(hooks: &Hooks) -> Result<Filter<Config>, FilterError> {
    Filter::outbound(hooks, &Known::default())
}

fn id(first: u32, last: u32) -> IdRange {
    IdRange::new(first, last).unwrap()
}

/// What a trie by longest prefix says of an address.
fn longest(nets: &[Net], address: IpAddr) -> u32 {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let within = |net: &&Net| {
        let differ = address.to_bits() ^ Ipv6Addr::from(net.address).to_bits();
        differ.leading_zeros() >= net.prefix
    };
    let best = nets.iter().filter(within).max_by_key(|net| net.prefix);
    best.map_or(0, |net| net.flags)
}

#[test]
fn the_longest_match_says_what_all_networks_around_an_address_say() {
    let all: Vec<Cidr> = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1/32",
        "10.1.1.2/32",
        "::/0",
        "::/64",
        "2001:db8::/32",
        "2001:db8::1/128",
        "::ffff:0:0/96",
    ]
    .map(|net| net.parse().unwrap())
    .to_vec();
    let probes: Vec<IpAddr> = [
        "10.1.1.1",
        "10.1.1.2",
        "10.1.9.9",
        "10.9.9.9",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8::2",
        "2a00::1",
        "::1",
    ]
    .map(|ip| ip.parse().unwrap())
    .to_vec();
    let part = Part::Traffic(Key::Cidrs);
    for a in &all {
        for b in &all {
            for c in &all {
                let (meant, left) = ([*a, *b], [*c]);
                let all = meant.map(|net| (net, NET_MEANT)).into_iter();
                let trie = nets(part, all.chain(left.map(|net| (net, NET_LEFT)))).unwrap();
                let mut keys: Vec<_> = trie.iter().map(|n| (n.address, n.prefix)).collect();
                keys.dedup();
                assert_eq!(keys.len(), trie.len(), "{a} {b} {c}: each network once");
                for probe in &probes {
                    let of = |list: &[Cidr], flag| {
                        let holds = list.iter().any(|net| net.contains(*probe));
                        u32::from(holds) * flag
                    };
                    let wanted = of(&meant, NET_MEANT) | of(&left, NET_LEFT);
                    assert_eq!(longest(&trie, *probe), wanted, "{a} {b} less {c}: {probe}");
                }
            }
        }
    }
}

#[test]
fn a_port_is_in_the_set_exactly_where_a_range_has_it() {
    let range = |first, last| PortRange::new(first, last).unwrap();
    let (include, except) = ([range(60, 130), range(65_535, 65_535)], [range(64, 127)]);
    for (include, except) in [
        (&include[..], &except[..]),
        (&[][..], &except[..]),
        (&include[..], &[][..]),
    ] {
        let words = ports(include, except);
        for port in 1..=u16::MAX {
            let within = |list: &[PortRange]| list.iter().any(|range| range.contains(port));
            let wanted = (include.is_empty() || within(include)) && !within(except);
            assert_eq!(has(&words, port), wanted, "{port}");
        }
    }
}

#[test]
fn ids_that_touch_are_joined_and_what_does_not_fit_is_refused_with_its_key() {
    let mut hooks = hooks();
    hooks.scope.of.uid = (0..40).map(|n| id(n, n)).collect();
    let config = outbound(&hooks).unwrap().config;
    assert_eq!((config.uid.count, config.uid.ranges[0]), (1, [0, 39]));
    assert!(
        config.uid.ranges[1..]
            .iter()
            .all(|[first, last]| first > last)
    );
    hooks.scope.except.gid = (0..=LIST as u32).map(|n| id(2 * n, 2 * n)).collect();
    let error = outbound(&hooks).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("scope.except.gid") && text.contains("17"),
        "{text}"
    );
    assert!(error.help().contains("ranges"));
}

#[test]
fn names_of_processes_are_filled_up_and_longer_ones_are_refused() {
    let mut hooks = hooks();
    hooks.scope.of.command = vec!["curl".to_owned(), "curl".to_owned()];
    let config = outbound(&hooks).unwrap().config;
    assert_eq!(config.command.count, 1);
    assert_eq!(&config.command.names[0][..5], b"curl\0");
    for wrong in ["", "sixteen-bytes-ab", "a\0b"] {
        hooks.scope.of.command = vec![wrong.to_owned()];
        let error = outbound(&hooks).unwrap_err();
        assert!(matches!(error, FilterError::Name { .. }), "{wrong:?}");
    }
}

#[test]
fn whom_the_hooks_cannot_tell_they_do_not_promise_to_leave_out() {
    let mut hooks = hooks();
    hooks.scope.except.pid = vec![1];
    let error = outbound(&hooks).unwrap_err();
    assert!(error.to_string().contains("scope.except.pid"), "{error}");
}

#[test]
fn flags_say_what_the_traffic_says() {
    let mut hooks = hooks();
    let flags = |hooks: &Hooks| outbound(hooks).unwrap().config.flags;
    let all = DO_TAKE | DO_CLOSED | DO_HERE | DO_TCP | DO_UDP | DO_OTHERS | DO_LEAVE_DNS;
    assert_eq!(flags(&hooks), all);
    hooks.takes = false;
    assert_eq!(flags(&hooks), all & !DO_TAKE);
    hooks.traffic.dns = Some(Dns::Capture);
    hooks.traffic.quic = Some(Quic::Reject);
    hooks.traffic.include.protocols = vec![Protocol::Tcp];
    let narrow =
        DO_CLOSED | DO_HERE | DO_TCP | DO_LEAVE_UDP | DO_DNS_TCP | DO_DNS_UDP | DO_REFUSE_QUIC;
    assert_eq!(flags(&hooks), narrow);
    hooks.traffic.exclude.ports = vec![PortRange::one(53).unwrap()];
    assert_eq!(
        flags(&hooks),
        narrow & !(DO_DNS_TCP | DO_DNS_UDP) | DO_LEAVE_DNS
    );
    // DNS has a key of its own: what is not included is captured, what is excluded is not.
    hooks.traffic.exclude.ports.clear();
    hooks.traffic.include.protocols.clear();
    hooks.traffic.exclude.protocols = vec![Protocol::Udp];
    assert_eq!(flags(&hooks), narrow & !DO_DNS_UDP | DO_OTHERS);
}

#[test]
fn made_up_addresses_are_refused_also_where_they_are_excluded() {
    let mut hooks = hooks();
    hooks.made_up = vec!["198.18.0.0/15".parse().unwrap()];
    hooks.traffic.exclude.cidrs = vec!["198.18.7.0/24".parse().unwrap()];
    let filter = outbound(&hooks).unwrap();
    let said = |ip: &str| longest(&filter.nets, ip.parse().unwrap());
    assert_eq!(said("198.19.0.1"), NET_REFUSED);
    assert_eq!(said("198.18.7.1"), NET_REFUSED | NET_LEFT);
    assert_eq!(said("198.20.0.1"), 0);
}

#[test]
fn addresses_of_names_are_networks_of_one_address() {
    let mut hooks = hooks();
    hooks.traffic.include.domains = vec!["example.com".parse().unwrap()];
    let none = outbound(&hooks).unwrap();
    assert!(none.nets.is_empty() && none.config.flags & DO_NETS != 0);
    let ip: IpAddr = "192.0.2.7".parse().unwrap();
    hooks.names.insert(NameSet::Included, [ip].into());
    let filter = outbound(&hooks).unwrap();
    assert_eq!(longest(&filter.nets, ip), NET_MEANT);
    assert_eq!(longest(&filter.nets, "192.0.2.8".parse().unwrap()), 0);
}
