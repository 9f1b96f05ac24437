use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

pub(super) static PROFILE: Profile = Profile {
    method: Method::Tproxy,
    summary: "mangle TPROXY hands packets to the engine with both of their addresses, TCP and UDP",
    transparent: true,
    protocols: &[Protocol::Tcp, Protocol::Udp],
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
        Key::Udp,
        Key::ExcludeProtocols,
        Key::Ports,
        Key::Cidrs,
        Key::IncludeDomains,
        Key::ExcludeDomains,
        Key::LoopbackSkip,
        Key::LoopbackSteer,
        Key::DnsLeave,
        Key::DnsCapture,
        Key::QuicSteer,
        Key::QuicReject,
        Key::QuicLeave,
        Key::Open,
        Key::Closed,
        Key::Backend,
        Key::ListenOutbound,
        Key::ListenInbound,
        Key::ListenDns,
        Key::Mark,
        Key::SourceClient,
        Key::Dial,
        Key::Resolver,
        Key::FakeIp,
    ],
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
        "multicast, broadcast, IPv6 link-local addresses and ICMP cannot be steered; under closed \
         they are refused as far as `plan` says",
        "conntrack is in the path of every packet of the namespace while a rule exists",
        "over iptables, a neighbour's check of the reverse path in prerouting (firewalld's `fib saddr \
         . mark . iif`) drops what programs of this host send: over nft it does not",
        "a destination without a route is an error of the program's own connect, before any rule",
        "TCP connections from before the start are not steered; UDP flows are taken over",
        "a cgroup of the scope that is removed and made again is bound again at once or within \
         250 ms; what connects before that is not steered",
        "IPv4 datagrams that come to an engine which is gone are dropped without an answer until the \
         keeper has taken the rules away (milliseconds); TCP and IPv6 are refused at once",
        "with iptables, when the engine and the keeper are both killed at once, the rules stay \
         until `steer clean`: new forwarded packets are dropped without an answer; with nft the \
         kernel removes what steers",
    ],
};
