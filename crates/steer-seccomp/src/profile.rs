//! What the method can do.

use steer_core::address::Protocol;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::profile::Profile;

pub(crate) static PROFILE: Profile = Profile {
    method: Method::Seccomp,
    summary: "has a supervisor answer the command's socket calls, static programs' too",
    transparent: true,
    protocols: &[Protocol::Tcp],
    // `dns: leave` holds because nothing of port 53 is touched, `closed` because a call without a
    // supervisor fails. Names are left out: a call has an address, never a name.
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
        Key::QuicLeave,
        Key::Closed,
        Key::RelayNeeded,
    ],
    privileges: &[],
    limits: &[
        "Steering, not containment: what is left alone (loopback, DNS, what is excluded) is looked \
         at and then made by the kernel, and a hostile thread can change the address in between; \
         only `netns` contains.",
        "No UDP but DNS: sending it fails with ENETUNREACH, and with EPIPE on a connected socket, \
         so that programs fall back to TCP; ICMP, SCTP and other protocols are refused likewise.",
        "The program's socket has a loopback address of its own where a connection passes the \
         engine (getsockname); getpeername and SO_PEERNAME tell the destination that was asked \
         for.",
        "TCP Fast Open is answered as by a host that has it switched off (EOPNOTSUPP).",
        "A nonblocking socket of Multipath TCP is refused with EACCES where the connection would \
         pass the engine.",
        "A socket that is bound to a device (SO_BINDTODEVICE) or of another network namespace \
         (`unshare -n` inside) is refused with EACCES.",
        "Set-user-id programs run without the user id that is theirs (no_new_privs). A process \
         that lets nobody look at it (PR_SET_DUMPABLE), or of another user, is refused with EPERM \
         unless steer is root.",
        "A process that closes a socket while its connect is pending is not noticed: the engine \
         dials on until that is over, or until no process has the socket.",
        "Of the sockets that passed the engine the last 65536 are remembered: of an older one \
         getpeername tells a loopback address.",
        "A nonblocking connect that is handed over is recorded as made when it is begun: how it \
         ends is between the program and the kernel.",
        "A signal does not wait for the supervisor: a call that it ends is made again or fails \
         with EINTR, as without steer.",
        "Unix sockets are not looked at: resolvers and container engines on this host act on the \
         program's behalf.",
        "io_uring is refused (EPERM), and socket families other than unix, IPv4, IPv6 and netlink \
         (EAFNOSUPPORT); 32-bit programs that make sockets by socketcall (glibc for i386 does) get \
         EAFNOSUPPORT.",
        "Closed by nature: when the supervisor is gone, connect fails with ENOSYS, and so do \
         sendmsg, getpeername and SO_ERROR, for unix sockets and loopback as well. Processes that \
         outlive the command get no connection any more; they are not named.",
        "One supervisor a process: within `steer run -m seccomp`, or a sandbox that uses the same \
         of the kernel, another one is refused before the start.",
    ],
};
