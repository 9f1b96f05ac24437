//! What the method can honour, needs, and cannot do.

use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

pub(crate) static PROFILE: Profile = Profile {
    method: Method::Netns,
    summary: "the command runs in a network namespace that nothing leaves, where every address leads \
              to the engine, TCP and UDP",
    transparent: true,
    protocols: &[Protocol::Tcp, Protocol::Udp],
    keys: &[
        Key::Command,
        Key::Tcp,
        Key::Udp,
        Key::LoopbackSkip,
        Key::LoopbackSteer,
        Key::DnsLeave,
        Key::DnsCapture,
        Key::QuicSteer,
        Key::QuicReject,
        Key::Closed,
        Key::Backend,
        Key::ListenOutbound,
        Key::ListenDns,
        Key::Mark,
        Key::HostLoopback,
        Key::Publish,
        Key::Resolver,
        Key::FakeIp,
    ],
    privileges: &[Privilege {
        what: "user namespaces",
        why: "to make a network namespace without privilege; some hosts forbid them",
    }],
    limits: &[
        "nothing can be left out: what is not steered could not leave, so lists of ports, networks \
         and names are refused keys, and so is on_failure: open; a rule with `action: direct` has \
         the engine pass them on as they are",
        "a connect succeeds before the engine has dialled: what cannot be reached is reset instead \
         of refused",
        "multicast, broadcast, IPv6 link-local addresses, ICMP (ping) and other IP protocols are \
         refused",
        "one UDP flow more than the engine has descriptors for (a quarter of the open files) is \
         refused, which UDP tells no socket that is not connected",
        "sockets by path that are not covered stay reachable (displays, agents, databases), and so \
         do files and the terminal; sockets of the host without a path do not",
        "a covered socket that its service makes anew is covered again a moment later, and not \
         while the process that sees to it (steer-holder) is stopped, which the command can do",
        "sockets and directories that the command is given by whoever starts it stay outside: they \
         are named, and refused by --verify",
        "processes of the same user outside can be sent signals; they cannot be traced",
        "setuid and setgid programs run without the privilege that they would give, and files of \
         other users belong to nobody, unless steer runs as root",
        "socket families other than unix, IPv4, IPv6, netlink and packet, and io_uring, are refused",
        "an addressed port of the command is reached from outside by `netns.publish` alone, TCP only",
    ],
};
