//! What the method can and cannot do.

use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::Profile;

pub(crate) static PROFILE: Profile = Profile {
    method: Method::Preload,
    summary: "loads a library into a command's processes, which stands before their socket calls",
    transparent: true,
    protocols: &[Protocol::Tcp],
    // `quic: leave` and `dns: capture` are left out: datagrams are refused or left alone as one.
    // Names in `traffic` are: what a program looks up itself is an address when it connects.
    keys: &[
        Key::Command,
        Key::Tcp,
        Key::ExcludeProtocols,
        Key::Ports,
        Key::Cidrs,
        Key::LoopbackSkip,
        Key::LoopbackSteer,
        Key::DnsLeave,
        Key::QuicReject,
        Key::Open,
        Key::Closed,
        Key::RelayNeeded,
        Key::FakeIp,
    ],
    privileges: &[],
    limits: &[
        "Steering, not containment: a program that makes system calls of its own, or takes the \
         library out, gets past it. Only `netns` contains.",
        "Static, setuid and Go programs, those with file capabilities and those of another \
         architecture would not be steered: `run` refuses them before they start, and the library \
         refuses them with EACCES where a steered program starts them (`--allow-unsteered` \
         starts them unsteered; so does `on_failure: open`).",
        "The C library must be glibc 2.34 or later, or musl; a program of an earlier glibc does \
         not start.",
        "Datagrams are refused with ECONNREFUSED, except to loopback and to port 53; under \
         `on_failure: open`, and where the protocols leave UDP out, they go where the program \
         sends them. Sockets of other families are refused with EAFNOSUPPORT.",
        "io_uring is refused through syscall(2); a program that sets it up by an instruction of \
         its own is not seen.",
        "getpeername tells the peer that the program asked for; getsockname tells a loopback \
         address, except where a connection is the program's own (`relay: needed`).",
        "Names go to an upstream where getaddrinfo and gethostbyname look them up; a program with \
         a resolver of its own (c-ares, `dig`) gets addresses by DNS, and is steered by them.",
        "A made up address stands for its name to the end: after 131,069 names (fewer where \
         `dns.fake_ip` has a smaller pool) further ones are not found (EAI_AGAIN).",
        "A connect that waits cannot be cancelled by pthread_cancel(3).",
        "A program that is linked with a sanitizer may insist on being loaded first, and end: \
         ASAN_OPTIONS=verify_asan_link_order=0.",
        "A network or mount namespace, or a root directory, of a program's own keeps it from the \
         engine: its connects are refused, and programs from there are not started.",
        "A process of another user than the one that runs steer, and root, gets no answer of the \
         engine: its connects are refused. So are those of a process that is answered by another \
         user than its own, and root.",
        "Closed when the engine is gone: connects are refused, programs that a steered one starts \
         load the library as long as it is there, and are not started where it is not.",
    ],
};
