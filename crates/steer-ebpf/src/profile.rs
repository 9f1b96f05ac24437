//! What the method can honour, needs, and cannot do.

use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::{Privilege, Profile};

/// What the method can do.
pub(crate) static PROFILE: Profile = Profile {
    method: Method::Ebpf,
    summary: "hooks of the kernel's socket layer send what a program connects to the engine; no \
              packet is rewritten",
    transparent: true,
    protocols: &Protocol::ALL,
    keys: &[
        Key::Command,
        Key::Host,
        Key::Cgroup,
        Key::Uid,
        Key::Gid,
        Key::CommandName,
        Key::Pid,
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
        Key::ListenOutbound,
        Key::ListenInbound,
        Key::ListenDns,
        Key::ListenExternal,
        Key::Dial,
        Key::Resolver,
        Key::FakeIp,
    ],
    privileges: &[
        Privilege {
            what: "CAP_BPF",
            why: "to load the programs and their maps",
        },
        Privilege {
            what: "CAP_NET_ADMIN",
            why: "to attach them to cgroups, to mark the engine's own sockets, and for the route of \
                  IPv6",
        },
        Privilege {
            what: "CAP_NET_RAW",
            why: "to tell programs by ICMP that a datagram was refused",
        },
        Privilege {
            what: "CAP_PERFMON",
            why: "to have programs that compare places in memory, and read the names of processes",
        },
        Privilege {
            what: "CAP_SYS_ADMIN",
            why: "to enter the network namespace of `scope.netns`, and those of containers in the \
                  scope",
        },
        Privilege {
            what: "write access to the unified cgroup hierarchy",
            why: "to put the command of `run`, or the processes of `scope.pid`, into a cgroup",
        },
    ],
    limits: &[
        "what a program has connected before the start is not steered; under closed raw sockets, \
         ICMP, SCTP and other protocols cannot be opened, under open they go direct; what is sent by \
         AF_PACKET is not seen",
        "a socket that is bound to a device other than lo, link-local addresses of IPv6, and datagrams \
         to multicast or broadcast addresses cannot be steered: refused under closed, direct under \
         open; the broadcast address of a subnet is taken for a host's",
        "`connect` succeeds before the engine has dialled: where that fails, the connection is reset",
        "where the programs may not read the name of a process (a kernel without BTF, or one that \
         is locked down), `scope.command` and the records have that of the calling thread: threads of \
         Java, browsers and others have names of their own",
        "a socket that a process made before it joined a cgroup, or was passed from outside, is of the \
         cgroup that made it (`scope.pid` counts those that its process has made)",
        "a systemd unit that is started again has a cgroup of its own, which gets its hooks a moment \
         later; while nobody watches, as after a crash, it gets none",
        "a socket of datagrams that was connected through the engine does not go direct when that has \
         ended, before it connects again: it is refused, and under open, where the hooks go as well, \
         it sends to whoever takes the engine's port on the loopback interface",
        "what the engine of another steering dials is not steered: it has the same mark",
        "a program that asks for its own address sees one of the loopback network, since it is \
         connected to the engine there",
        "on a kernel without BTF a program that asks for the peer of its MPTCP socket sees such an \
         address as well",
        "scopes of a host, of users, of groups and of process names mean programs of this network \
         namespace alone; a command, a cgroup and a process are followed into others, whose first \
         connections wait for a listener there: refused under closed, direct under open",
        "the engine listens in as many of those as a thirty-second of its descriptors (`ulimit -n`), \
         and looks for one that it could not enter once a second",
        "a datagram of a socket that was closed is taken if the engine reads it within 10 seconds; \
         whoever gets that very address and port meanwhile is taken for it",
        "what is in a network namespace of its own keeps the local route of IPv6 after a SIGKILL; \
         it leads nowhere",
        "process ids and program files are told only where the engine is in the initial pid \
         namespace, and program files only of processes that still run; the cgroup's path only as \
         far as the engine sees the hierarchy",
        "under closed, what comes in (`scope.inbound`) is refused for as long as the keeper lives: \
         the kernel detaches that hook with its last holder",
        "what this host connects from one of its addresses to another one of them comes in as what \
         others send does (`scope.inbound`); what the engine itself dials so, as to a secondary \
         address, is reset",
        "`listen.external`: TCP alone; the proxy has to listen on every address (0.0.0.0 and ::), \
         since what is steered comes to addresses of 127.128.0.0/9 and fd5e:7ee2:0:f8e3::/64; the \
         kernel answers its SO_ORIGINAL_DST only as long as the steering is in force",
        "Linux 6.1 or later",
        "lists of users, groups, process names and cgroups have 16 entries at most",
    ],
};
