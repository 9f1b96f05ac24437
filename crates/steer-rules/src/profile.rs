//! What every netfilter method can honour, needs, and cannot do.

use steer_core::key::Key;
use steer_core::profile::Privilege;

/// The keys that every method can honour.
pub const KEYS: [Key; 29] = [
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
];

/// These and more; `N` is the number of all.
pub const fn keys_and<const N: usize>(more: &[Key]) -> [Key; N] {
    keys_but(&[], more)
}

/// These but some, and more; `N` is the number of all.
pub const fn keys_but<const N: usize>(left_out: &[Key], more: &[Key]) -> [Key; N] {
    assert!(
        KEYS.len() - left_out.len() + more.len() == N,
        "every key has its place"
    );
    let mut all = [KEYS[0]; N];
    let (mut from, mut to) = (0, 0);
    while from < KEYS.len() {
        if !holds(left_out, KEYS[from]) {
            all[to] = KEYS[from];
            to += 1;
        }
        from += 1;
    }
    let mut from = 0;
    while from < more.len() {
        all[to] = more[from];
        from += 1;
        to += 1;
    }
    all
}

const fn holds(list: &[Key], key: Key) -> bool {
    let mut at = 0;
    while at < list.len() {
        if list[at] as usize == key as usize {
            return true;
        }
        at += 1;
    }
    false
}

/// What another namespace needs.
pub const NAMESPACE: Privilege = Privilege {
    what: "CAP_SYS_ADMIN",
    why: "to enter the network namespace of `scope.netns`",
};

/// What a command needs.
pub const CGROUPS: Privilege = Privilege {
    what: "write access to the unified cgroup hierarchy",
    why: "to put the command of `run` into a cgroup of its own",
};

/// A limit of rules that know a cgroup by its number.
pub const CGROUP_AGAIN: &str = "a cgroup of the scope that is removed and made again is bound again at once or within \
     250 ms; what connects before that is not steered";
