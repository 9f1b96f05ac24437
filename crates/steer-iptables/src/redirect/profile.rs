use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

pub(super) static PROFILE: Profile = Profile {
    method: Method::Redirect,
    summary: "nat REDIRECT rewrites the destination of new TCP connections to the engine's port",
    transparent: true,
    protocols: &[Protocol::Tcp],
    keys: &[
        Key::Command,
        Key::Host,
        Key::Cgroup,
        Key::Uid,
        Key::Gid,
        Key::Tcp,
        Key::Ports,
        Key::Cidrs,
        Key::LoopbackSkip,
        Key::LoopbackSteer,
        Key::DnsLeave,
        Key::QuicReject,
        Key::QuicLeave,
        Key::Open,
        Key::Closed,
        Key::Backend,
    ],
    privileges: &[
        Privilege {
            what: "CAP_NET_ADMIN",
            why: "to write the rules, and to mark the engine's own sockets",
        },
        Privilege {
            what: "write access to the unified cgroup hierarchy",
            why: "to put the command of `run` into a cgroup of its own",
        },
    ],
    limits: &[
        "TCP only; UDP and ICMP of the scope are refused under closed and go direct under open",
        "conntrack is in the path of every connection of the namespace while a rule exists",
        "sockets opened before the start are not steered",
        "with iptables, when the engine and the keeper are both killed at once, the rules stay \
         and refuse until `steer clean`; with nft the kernel removes them",
    ],
};
