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
        Key::Interface,
        Key::Netns,
        Key::Inbound,
        Key::Tcp,
        Key::ExcludeProtocols,
        Key::Ports,
        Key::Cidrs,
        Key::IncludeDomains,
        Key::ExcludeDomains,
        Key::LoopbackSkip,
        Key::LoopbackSteer,
        Key::DnsLeave,
        Key::DnsCapture,
        Key::QuicReject,
        Key::QuicLeave,
        Key::Open,
        Key::Closed,
        Key::Backend,
        Key::ListenOutbound,
        Key::ListenInbound,
        Key::ListenDns,
        Key::Dial,
        Key::Resolver,
        Key::FakeIp,
    ],
    privileges: &[
        Privilege {
            what: "CAP_NET_ADMIN",
            why: "to write the rules, and to mark the engine's own sockets",
        },
        Privilege {
            what: "CAP_SYS_ADMIN",
            why: "to enter the network namespace of `scope.netns`",
        },
        Privilege {
            what: "write access to the unified cgroup hierarchy",
            why: "to put the command of `run` into a cgroup of its own",
        },
    ],
    limits: &[
        "TCP, and DNS over UDP; under open all else goes direct, under closed UDP of the scope is \
         refused, and ICMP and other protocols are as well where nothing narrows the traffic and \
         the scope is not the whole host; `plan` says which",
        "conntrack is in the path of every connection of the namespace while a rule exists",
        "sockets opened before the start are not steered",
        "a cgroup of the scope that is removed and made again is bound again at once or within \
         250 ms; what connects before that is not steered",
        "with iptables, when the engine and the keeper are both killed at once, the rules stay \
         until `steer clean`: connections are refused, but whoever binds the engine's port would \
         get them; with nft the kernel removes what steers",
    ],
};
