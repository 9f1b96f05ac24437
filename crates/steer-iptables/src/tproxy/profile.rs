use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

use steer_rules::profile;

pub(super) static PROFILE: Profile = Profile {
    method: Method::Tproxy,
    summary: "mangle TPROXY hands packets to the engine with both of their addresses, TCP and UDP",
    transparent: true,
    protocols: &[Protocol::Tcp, Protocol::Udp],
    keys: &profile::keys_and::<{ profile::KEYS.len() + OWN.len() }>(&OWN),
    privileges: &[
        Privilege {
            what: "CAP_NET_ADMIN",
            why: "to write the rules and routes, to mark the engine's own sockets, and to give \
                  sockets the addresses of others (IP_TRANSPARENT)",
        },
        Privilege {
            what: "CAP_NET_RAW",
            why: "to answer datagrams whose address a server of this host has, and to tell \
                  programs by ICMP that a datagram was refused",
        },
        profile::NAMESPACE,
        profile::CGROUPS,
    ],
    limits: &[
        "multicast, broadcast, IPv6 link-local addresses and ICMP cannot be steered; under closed \
         they are refused as far as `plan` says",
        "conntrack is in the path of every packet of the namespace while a rule exists",
        "over iptables, a neighbour's check of the reverse path in prerouting (firewalld's `fib saddr \
         . mark . iif`) drops what programs of this host send: over nft it does not",
        "what a rule or route of others sends elsewhere although it is marked is dropped under \
         closed (datagrams fail at once, connects time out) and goes direct under open",
        "a destination without a route is an error of the program's own connect, before any rule",
        "TCP connections from before the start are not steered; UDP flows are taken over",
        profile::CGROUP_AGAIN,
        "IPv4 datagrams that come to an engine which is gone are dropped without an answer until the \
         keeper has taken the rules away (milliseconds); TCP and IPv6 are refused at once",
        "with iptables, when the engine and the keeper are both killed at once, the rules stay \
         until `steer clean`: new forwarded packets are dropped without an answer; with nft the \
         kernel removes what steers",
    ],
};

/// What REDIRECT has no way for.
const OWN: [Key; 4] = [Key::Udp, Key::QuicSteer, Key::Mark, Key::SourceClient];
