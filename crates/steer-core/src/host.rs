//! The facts of a host that a plan depends on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Family;
use crate::mark::Mark;
use crate::object::{IptablesVariant, Layer};
use crate::ruleset::{ChainKind, Hook};

/// A snapshot of a host.
///
/// It can be saved and read again, so that a plan is the same text on any machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// nf_tables in the kernel.
    pub nft: Presence,
    /// iptables programs found, each with whether its tables can be read.
    pub iptables: BTreeMap<IptablesName, Presence>,
    /// The unified cgroup hierarchy.
    pub cgroup2: Presence,
    /// This process's cgroup below the root of the hierarchy.
    pub own_cgroup: Option<String>,
    /// Address families on whose loopback address a listener can be.
    pub families: Vec<Family>,
    /// Address families of which the kernel makes sockets: what a program could get out by.
    pub socket_families: Vec<Family>,
    /// The effective user id.
    pub uid: u32,
    /// Capability to change the network (CAP_NET_ADMIN) in effect.
    pub net_admin: Presence,
    /// Programs in the kernel's socket layer (bpf(2)): the privilege to load them.
    #[serde(default = "unasked")]
    pub bpf: Presence,
    /// Devices whose packets a program reads and writes (`/dev/net/tun`).
    #[serde(default = "unasked")]
    pub tun: Presence,
    /// Open descriptors that an intent names, with what each is of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub descriptors: BTreeMap<i32, Descriptor>,
    /// Cgroups of systemd's units that an intent names, by unit, with the path below the root of the
    /// hierarchy that each has or would have.
    #[serde(default)]
    pub units: BTreeMap<String, String>,
    /// Cgroups of the running processes that an intent names.
    #[serde(default)]
    pub processes: BTreeMap<u32, Option<String>>,
    /// Namespaces of users, for a process without privilege (user_namespaces(7)).
    pub user_namespaces: Presence,
    /// System calls that a supervisor answers (seccomp_unotify(2)).
    pub supervision: Presence,
    /// A directory in which this user can put a library that programs load: nobody else can change
    /// it, and code can be mapped from there.
    #[serde(default)]
    pub libraries: Option<String>,
    /// The user's home directory.
    #[serde(default)]
    pub home: Option<String>,
    /// Sockets by path at which the user's surroundings say that containers are started.
    #[serde(default)]
    pub container_sockets: Vec<String>,
    /// User names with their ids, for scopes.
    pub users: BTreeMap<String, u32>,
    /// Group names with their ids, for scopes.
    pub groups: BTreeMap<String, u32>,
    /// The network interfaces of this namespace.
    pub interfaces: Vec<Interface>,
    /// Transparent steering in the kernel, by packet filter.
    pub tproxy: Transparency,
    /// What neighbours do with marks, rules and priorities.
    pub neighbours: Vec<Neighbour>,
    /// The resolvers that programs here are told to ask (`/etc/resolv.conf`).
    pub resolvers: Vec<IpAddr>,
    /// Network namespaces that an intent names, with the path of each or why there is none.
    pub netns: BTreeMap<String, Namespace>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The families that it forwards (`net.ipv4.conf.NAME.forwarding` and its like).
    pub forwards: Vec<Family>,
    /// Whether marks count when the source of a packet is checked (`src_valid_mark`, of the
    /// interface or of all).
    pub src_valid_mark: bool,
    /// Whether it is a bridge, which has others as its ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bridge: bool,
    /// Whether the kernel takes addresses and routes from whoever says there to be a router
    /// (`net.ipv6.conf.NAME.accept_ra`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_advertisements: bool,
}

/// Whether packets can be handed to a transparent socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transparency {
    /// By nf_tables (`nft_tproxy`, `nft_socket`).
    pub nft: Presence,
    /// By iptables (`xt_TPROXY`, `xt_socket`).
    pub iptables: Presence,
}

/// Something of others that a plan may collide with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Neighbour {
    /// A mark that is set or looked at.
    Mark {
        /// The bits.
        mark: MarkBits,
        /// What is done with them.
        usage: MarkUse,
        /// Where, for people: `ip rule 5210`, `nft table inet foo, chain bar`.
        by: String,
    },
    /// A policy routing rule.
    Rule {
        /// Its family.
        family: Family,
        /// Its priority.
        priority: u32,
        /// The rule as `ip rule` shows it.
        by: String,
    },
    /// A chain at a hook.
    Chain {
        /// The kind of the chain.
        kind: ChainKind,
        /// The hook.
        hook: Hook,
        /// The priority.
        priority: i32,
        /// Where, for people: `nft table inet foo, chain bar`.
        by: String,
    },
}

/// What others do with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkUse {
    /// They look whether a packet or connection has it.
    Tested,
    /// They give it to packets or connections, which lose what they had in those bits.
    Set,
}

/// A mark of others, as value and mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarkBits {
    /// The bits that are set.
    pub value: u32,
    /// The bits that are looked at.
    pub mask: u32,
}

impl From<MarkBits> for Mark {
    fn from(MarkBits { value, mask }: MarkBits) -> Self {
        Self { value, mask }
    }
}

/// Where a network namespace that an intent names is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// This path leads to it.
    At(String),
    /// There is none of that name; what was looked for.
    Absent(String),
}

/// What a descriptor that an intent names is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// A device whose packets its holder reads.
    Device {
        /// Its name in the network namespace that it was made in.
        name: String,
        /// What it carries.
        layer: Layer,
    },
    /// No such device; why not.
    Other(String),
}

/// The key of an iptables program in [`Host::iptables`].
pub type IptablesName = IptablesVariant;

/// An answer with three values: asking can fail, and then nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is there and works.
    Present,
    /// It is not there; why, as far as it is known.
    Absent(String),
    /// It could not be asked; why.
    Unknown(String),
}

impl Presence {
    /// Whether it is known to be there.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        matches!(self, Self::Present)
    }
}

fn unasked() -> Presence {
    Presence::Unknown("it was not asked for".to_owned())
}

impl Host {
    /// A plain host with root, nf_tables, iptables and cgroup2: for examples and tests.
    #[must_use]
    pub fn example() -> Self {
        Self {
            kernel: "6.1.0".to_owned(),
            nft: Presence::Present,
            iptables: BTreeMap::from([(IptablesVariant::Nft, Presence::Present)]),
            cgroup2: Presence::Present,
            own_cgroup: Some(String::new()),
            families: Family::ALL.to_vec(),
            socket_families: Family::ALL.to_vec(),
            uid: 0,
            net_admin: Presence::Present,
            bpf: Presence::Present,
            tun: Presence::Present,
            descriptors: BTreeMap::new(),
            units: BTreeMap::new(),
            processes: BTreeMap::new(),
            user_namespaces: Presence::Present,
            supervision: Presence::Present,
            libraries: Some("/run/steer-lib".to_owned()),
            home: Some("/home/demo".to_owned()),
            container_sockets: Vec::new(),
            users: BTreeMap::from([("root".to_owned(), 0), ("nobody".to_owned(), 65534)]),
            groups: BTreeMap::from([("root".to_owned(), 0), ("nogroup".to_owned(), 65534)]),
            interfaces: ["lo", "eth0", "eth1"]
                .map(|name| Interface {
                    name: name.to_owned(),
                    forwards: Family::ALL.to_vec(),
                    src_valid_mark: false,
                    bridge: false,
                    takes_advertisements: false,
                })
                .to_vec(),
            tproxy: Transparency {
                nft: Presence::Present,
                iptables: Presence::Present,
            },
            neighbours: Vec::new(),
            resolvers: vec![IpAddr::from([192, 0, 2, 53])],
            netns: BTreeMap::from([("web".to_owned(), Namespace::At("/run/netns/web".to_owned()))]),
        }
    }
}
