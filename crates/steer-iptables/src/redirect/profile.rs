use steer_core::address::Protocol;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

use steer_rules::profile;

pub(super) static PROFILE: Profile = Profile {
    method: Method::Redirect,
    summary: "nat REDIRECT rewrites the destination of new TCP connections to the engine's port",
    transparent: true,
    protocols: &[Protocol::Tcp],
    keys: &profile::KEYS,
    privileges: &[
        Privilege {
            what: "CAP_NET_ADMIN",
            why: "to write the rules, and to mark the engine's own sockets",
        },
        profile::NAMESPACE,
        profile::CGROUPS,
    ],
    limits: &[
        "TCP, and DNS over UDP; under open all else goes direct, under closed UDP of the scope is \
         refused, and ICMP and other protocols are as well where nothing narrows the traffic and \
         the scope is not the whole host; `plan` says which",
        "conntrack is in the path of every connection of the namespace while a rule exists",
        "sockets opened before the start are not steered",
        profile::CGROUP_AGAIN,
        "with iptables, when the engine and the keeper are both killed at once, the rules stay \
         until `steer clean`: connections are refused, but whoever binds the engine's port would \
         get them; with nft the kernel removes what steers",
    ],
};
