//! What `tun` and `tap` can do.

use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

use steer_rules::profile::{self, KEYS, keys_but};

pub(crate) static TUN: Profile = Profile {
    method: Method::Tun,
    summary: "a TUN device whose packets the kernel's own TCP takes, TCP, UDP and echo requests",
    transparent: true,
    protocols: &[Protocol::Tcp, Protocol::Udp],
    keys: &keys_but::<{ KEYS.len() - WITHOUT.len() + BOTH }>(&WITHOUT, OWN.split_at(BOTH).0),
    privileges: &PRIVILEGES,
    limits: &LIMITS,
};

pub(crate) static TAP: Profile = Profile {
    method: Method::Tap,
    summary: "a TAP device, of this host or a port of a bridge with virtual machines and containers",
    keys: &keys_but::<{ KEYS.len() - WITHOUT.len() + OWN.len() }>(&WITHOUT, &OWN),
    ..TUN
};

const PRIVILEGES: [Privilege; 4] = [
    Privilege {
        what: "CAP_NET_ADMIN",
        why: "to make the device, to write the rules and routes, and to mark the engine's own \
              sockets; `tun` does without for a command, in user namespaces",
    },
    Privilege {
        what: "/dev/net/tun",
        why: "to read and write the device's packets",
    },
    profile::NAMESPACE,
    profile::CGROUPS,
];

const LIMITS: [&str; 12] = [
    "what goes to this host's own addresses, loopback or not, cannot be steered, nor multicast, \
     broadcast and IPv6 link-local addresses; under closed they are refused as far as `plan` says",
    "protocols beside TCP and UDP cannot be steered but for echo requests, where `device.echo` is \
     written",
    "conntrack is in the path of every packet of the namespace while a rule exists, and holds two \
     entries for a TCP connection: the program's, and that of its stand-in at the device",
    "a firewall of this host that admits only what it knows has to admit what comes in by the device",
    "packets that others masquerade on their way to the device come from its own address: the record \
     then shows that one as the client's",
    "a forwarded packet is steered only where its interface forwards",
    "what a rule or route of others sends elsewhere although it is marked is dropped under closed \
     (datagrams fail at once, connections time out) and goes direct under open",
    "a destination without a route is an error of the program's own connect, before any rule",
    "TCP connections from before the start are not steered; UDP flows are taken over",
    "a killed engine's connections are reset by the keeper, which asks each client what it expects; \
     under open, those of a client behind this host that does not answer within a second go direct, \
     and so do all where the keeper is killed as well",
    profile::CGROUP_AGAIN,
    "without CAP_NET_ADMIN `tun` steers a command alone, in namespaces of its own: nothing can be left \
     out, loopback is the command's own, a resolver there is not reached, and pings are answered or \
     refused",
];

/// What no device brings here: connections to this host, and one port for everything.
const WITHOUT: [Key; 4] = [
    Key::Inbound,
    Key::LoopbackSteer,
    Key::ListenInbound,
    Key::ListenDns,
];

/// What they have beside the rest: both the first of them, and `tap` what only stations of a link have
/// a use for.
const OWN: [Key; 11] = [
    Key::Udp,
    Key::QuicSteer,
    Key::Mark,
    Key::DeviceMtu,
    Key::DeviceQueues,
    Key::DeviceEcho,
    Key::DeviceFd,
    Key::DeviceBridge,
    Key::DeviceGateway,
    Key::DeviceDhcp,
    Key::DeviceAdvertise,
];

/// How many of them both have.
const BOTH: usize = 7;
