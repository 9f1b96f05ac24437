use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

pub(super) static PROFILE: Profile = Profile {
    method: Method::Dns,
    summary: "a resolver that answers chosen names with addresses of this host, on whose ports \
              the engine listens",
    transparent: true,
    protocols: &[Protocol::Tcp, Protocol::Udp],
    // `dns: leave` holds because nothing is taken that is not sent to this resolver.
    keys: &[
        Key::Command,
        Key::Host,
        Key::Tcp,
        Key::Udp,
        Key::ExcludeProtocols,
        Key::Ports,
        Key::IncludeDomains,
        Key::ExcludeDomains,
        Key::DnsLeave,
        Key::ListenDns,
        Key::Resolver,
    ],
    privileges: &[Privilege {
        what: "CAP_NET_BIND_SERVICE",
        why: "to listen on ports below 1024, where the host asks it for them",
    }],
    limits: &[
        "only programs that ask this resolver are steered, and nothing makes them ask it: write \
         it into /etc/resolv.conf or the resolver's own setting, as `plan` says",
        "only the ports of `traffic.include.ports` are served, 80 and 443 where none is written: \
         the resolver cannot know which port a program will ask for, and other ports of a chosen \
         name are refused",
        "names that are chosen by `*.` share 64 addresses; while all are in use, more of them do \
         not resolve",
        "chosen names have no IPv6 address, as loopback has but one",
        "programs of other hosts and of other network namespaces do not reach loopback",
        "a program that checks DNSSEC itself does not believe the answers",
        "instances share the addresses, so two of them cannot serve the same port",
        "neither `open` nor `closed`: when the engine is gone, chosen names do not resolve, but \
         a program may still hold an address, and any local program may take the free port",
    ],
};
