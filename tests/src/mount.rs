//! The methods that a case is mounted for.

mod cannot;

use lab::{Cgroup, Hierarchy, Host, Need, Program};

use crate::speech::Speech;

pub use cannot::{Asked, Cannot};

/// A method with what its clients speak: a column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// `redirect` over nf_tables.
    RedirectNft,
    /// `redirect` over iptables.
    RedirectIptables,
    /// `redirect` over the x_tables of old.
    RedirectLegacy,
    /// `tproxy` over nf_tables.
    TproxyNft,
    /// `tproxy` over iptables.
    TproxyIptables,
    /// `tproxy` over the x_tables of old.
    TproxyLegacy,
    /// `ebpf`.
    Ebpf,
    /// `tun`.
    Tun,
    /// `tap`.
    Tap,
    /// `env`, with clients that obey `http_proxy`.
    Env,
    /// `explicit`, with clients that speak CONNECT.
    ExplicitConnect,
    /// `explicit`, with clients that speak SOCKS5.
    ExplicitSocks5,
    /// `dns` alone, with clients that ask the resolver of the engine.
    Dns,
    /// `netns`, around a command whose sockets are the clients.
    Netns,
    /// `seccomp`, likewise.
    Seccomp,
    /// `preload`, likewise.
    Preload,
}

impl Mount {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::RedirectNft,
        Self::RedirectIptables,
        Self::RedirectLegacy,
        Self::TproxyNft,
        Self::TproxyIptables,
        Self::TproxyLegacy,
        Self::Ebpf,
        Self::Tun,
        Self::Tap,
        Self::Env,
        Self::ExplicitConnect,
        Self::ExplicitSocks5,
        Self::Dns,
        Self::Netns,
        Self::Seccomp,
        Self::Preload,
    ];

    /// How the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::RedirectNft => "redirect (nft)",
            Self::RedirectIptables => "redirect (iptables)",
            Self::RedirectLegacy => "redirect (iptables-legacy)",
            Self::TproxyNft => "tproxy (nft)",
            Self::TproxyIptables => "tproxy (iptables)",
            Self::TproxyLegacy => "tproxy (iptables-legacy)",
            Self::Ebpf => "ebpf",
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Env => "env",
            Self::ExplicitConnect => "explicit (CONNECT)",
            Self::ExplicitSocks5 => "explicit (SOCKS5)",
            Self::Dns => "dns",
            Self::Netns => "netns",
            Self::Seccomp => "seccomp",
            Self::Preload => "preload",
        }
    }

    /// The method's name.
    pub fn method(self) -> &'static str {
        match self {
            Self::RedirectNft | Self::RedirectIptables | Self::RedirectLegacy => "redirect",
            Self::TproxyNft | Self::TproxyIptables | Self::TproxyLegacy => "tproxy",
            Self::Ebpf => "ebpf",
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Env => "env",
            Self::ExplicitConnect | Self::ExplicitSocks5 => "explicit",
            Self::Dns => "dns",
            Self::Netns => "netns",
            Self::Seccomp => "seccomp",
            Self::Preload => "preload",
        }
    }

    /// The packet filter, of methods that write rules.
    pub fn backend(self) -> Option<&'static str> {
        match self {
            Self::RedirectNft | Self::TproxyNft => Some("nft"),
            Self::RedirectIptables | Self::TproxyIptables => Some("iptables"),
            Self::RedirectLegacy | Self::TproxyLegacy => Some("iptables-legacy"),
            _ => None,
        }
    }

    /// The mount that runs the cases about what lies behind the rules, where this one differs
    /// from it by the packet filter alone.
    pub fn stand_in(self) -> Option<Self> {
        match self {
            Self::RedirectLegacy => Some(Self::RedirectNft),
            Self::TproxyIptables | Self::TproxyLegacy => Some(Self::TproxyNft),
            _ => None,
        }
    }

    /// What its clients say first.
    pub fn speech(self) -> Speech {
        match self {
            Self::Env | Self::ExplicitConnect => Speech::Connect,
            Self::ExplicitSocks5 => Speech::Socks5,
            _ => Speech::Unaware,
        }
    }

    /// Whether its clients know nothing of it, and reach any address.
    pub fn is_transparent(self) -> bool {
        self.takes_scope() || self.steers_a_command()
    }

    /// Whether it can be told whose traffic on a host is meant.
    pub fn takes_scope(self) -> bool {
        self.backend().is_some() || matches!(self, Self::Ebpf | Self::Tun | Self::Tap)
    }

    /// `steer` on a host, without arguments yet.
    ///
    /// What would be attached to every cgroup of the machine is attached to those of the test.
    pub fn steer(self, host: &Host) -> Program {
        let program = host.program(crate::steer());
        match self {
            Self::Ebpf => program.in_hierarchy(),
            _ => program,
        }
    }

    /// A cgroup that `steer` sees directly below the root of its hierarchy.
    pub fn cgroup(self, label: &str) -> Cgroup {
        match self {
            Self::Ebpf => Cgroup::in_hierarchy(&format!("{label}-{}", crate::instance_name())),
            _ => Cgroup::new(label),
        }
    }

    /// Whether its clients are the sockets of a command of `run`, and no others of the host.
    pub fn steers_a_command(self) -> bool {
        matches!(self, Self::Netns | Self::Seccomp | Self::Preload)
    }

    /// Whether it starts a command, rather than steer what runs.
    pub fn is_run(self) -> bool {
        self == Self::Env || self.steers_a_command()
    }

    /// Whether it brings datagrams of any port to the engine.
    pub fn steers_udp(self) -> bool {
        self.method() == "tproxy"
            || matches!(self, Self::Netns | Self::Ebpf | Self::Tun | Self::Tap)
    }

    /// What can be chosen to happen when the engine dies.
    pub fn on_failures(self) -> &'static [&'static str] {
        match self {
            // Their clients are held by the engine, and have no other way.
            Self::Netns | Self::Seccomp => &["closed"],
            _ => &["open", "closed"],
        }
    }

    /// What its tests need.
    pub fn needs(self) -> &'static [Need] {
        match self.backend() {
            Some("iptables") => &[Need::Namespaces, Need::Program("iptables-restore")],
            Some("iptables-legacy") => {
                &[Need::Namespaces, Need::Program("iptables-legacy-restore")]
            }
            _ if matches!(self, Self::Tun | Self::Tap) => {
                &[Need::Namespaces, Need::Path("/dev/net/tun")]
            }
            _ if self == Self::Ebpf => &[Need::Namespaces, Need::Root, Need::Cgroup2],
            // Root makes the namespaces; the methods without rules need none themselves.
            _ => &[Need::Namespaces],
        }
    }
}

/// Runs a case for a mount, or holds the mount to the reason why it cannot.
pub fn mounted(mount: Mount, case: &str, body: fn(Mount)) {
    if !lab::require(mount.needs()) {
        return;
    }
    match mount.cannot(case) {
        Some(cannot) => cannot.prove(mount),
        None => {
            if mount == Mount::Ebpf {
                // Whatever the case starts is in there, what it starts first, too.
                Hierarchy::own();
            }
            body(mount);
        }
    }
}
