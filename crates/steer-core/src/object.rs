//! Everything that a plan can ask for, as typed data.

mod child;
mod device;
mod hooks;
mod listener;
mod route;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ruleset::Ruleset;
use crate::symbol::{Bindings, CgroupRef, PortRef, Unbound};

pub use child::ChildSetting;
pub use device::{Device, DeviceQueue, Layer, NotAQueue, Offloads, device_address, device_net};
pub use hooks::{Carries, Entrance, Hooks, Lookup, Reach, is_token, token_net};
pub use listener::{Binding, Listener};
pub use route::{
    LOCAL_TABLE, Leads, MAIN_TABLE, PolicyRule, ROUTE_PROTOCOL, Route, TABLE_ABOVE_PRIORITY,
};

/// A thing that has to exist for traffic to be steered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a plan has a dozen objects, made once"
)]
#[non_exhaustive]
pub enum Object {
    /// A port on which the engine takes connections.
    Listener(Listener),
    /// A control group.
    Cgroup(CgroupRef),
    /// Running processes that are moved into a cgroup of the same plan, each with those that it has
    /// started. They come from the cgroup above it and go back there when it is removed.
    Members {
        /// The cgroup, below the one that they are in.
        cgroup: CgroupRef,
        /// The processes.
        pids: Vec<u32>,
    },
    /// Rules of nf_tables.
    Nft(Ruleset),
    /// Rules of iptables.
    Iptables(Ruleset, IptablesVariant),
    /// A device whose packets the engine reads.
    Device(Device),
    /// A route of a routing table of ours.
    Route(Route),
    /// A rule that sends marked packets to a routing table.
    Rule(PolicyRule),
    /// Hooks of the socket layer, for what programs here send.
    Hooks(Hooks),
    /// A hook of the socket layer, for what comes here.
    Lookup(Lookup),
    /// Namespaces of the command's own.
    Namespace(Namespace),
    /// A setting of the command that is started.
    Child(ChildSetting),
}

/// Namespaces of the command's own: users, network and mounts (namespaces(7)).
///
/// The network has the interface `lo`, devices of the same plan, whose packets the engine reads, and
/// nothing else, so that no packet can leave it. Users and groups keep their numbers: a process without privilege maps its own alone, and root all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Addresses of `lo` beside the loopback ones, one a family at most. Every address of such a
    /// family is local there (`local default dev lo src ADDRESS`), so that whatever programs
    /// connect to comes to this host itself, and their source differs from it.
    pub addresses: Vec<IpAddr>,
    /// Sockets of others by which a program would get out without a packet; where they exist they
    /// are covered in the mount namespace.
    pub masked: Vec<String>,
}

/// Who makes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Domain {
    /// The engine's process: listening sockets.
    Listener,
    /// The cgroup driver.
    Cgroup,
    /// The nf_tables driver.
    Nft,
    /// The iptables driver.
    Iptables,
    /// The driver of devices.
    Device,
    /// The driver of routes and policy rules.
    Route,
    /// The driver of eBPF programs.
    Ebpf,
    /// Whoever makes namespaces.
    Namespace,
    /// Whoever starts the command.
    Child,
}

/// Which kernel tables an iptables program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IptablesVariant {
    /// iptables over nf_tables.
    Nft,
    /// The x_tables of old.
    Legacy,
}

impl Object {
    /// Who makes it.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        match self {
            Self::Listener(_) => Domain::Listener,
            Self::Cgroup(_) | Self::Members { .. } => Domain::Cgroup,
            Self::Nft(_) => Domain::Nft,
            Self::Iptables(..) => Domain::Iptables,
            Self::Device(_) => Domain::Device,
            Self::Route(_) | Self::Rule(_) => Domain::Route,
            Self::Hooks(_) | Self::Lookup(_) => Domain::Ebpf,
            Self::Namespace(_) => Domain::Namespace,
            Self::Child(_) => Domain::Child,
        }
    }

    /// The object with every symbol replaced by its value.
    pub fn resolve(&self, bindings: &Bindings) -> Result<Self, Unbound> {
        Ok(match self {
            Self::Listener(listener) if listener.binding == Binding::Control => self.clone(),
            Self::Listener(listener) => {
                let port = bindings.port(&PortRef::Listener(listener.id.clone()))?;
                Self::Listener(Listener {
                    port: port.number(),
                    ..listener.clone()
                })
            }
            Self::Cgroup(cgroup) => Self::Cgroup(bindings.cgroup(cgroup)?),
            Self::Members { cgroup, pids } => Self::Members {
                cgroup: bindings.cgroup(cgroup)?,
                pids: pids.clone(),
            },
            Self::Nft(rules) => Self::Nft(rules.resolve(bindings)?),
            Self::Iptables(rules, variant) => Self::Iptables(rules.resolve(bindings)?, *variant),
            Self::Route(route) => Self::Route(Route {
                table: bindings.table(route.table)?,
                ..route.clone()
            }),
            Self::Rule(rule) => Self::Rule(PolicyRule {
                mark: bindings.mark(rule.mark)?,
                table: bindings.table(rule.table)?,
                ..rule.clone()
            }),
            Self::Child(setting) => Self::Child(setting.resolve(bindings)?),
            Self::Hooks(hooks) => Self::Hooks(hooks.resolve(bindings)?),
            Self::Lookup(lookup) => Self::Lookup(Lookup {
                port: bindings.port(&lookup.port)?,
                ..lookup.clone()
            }),
            Self::Device(_) | Self::Namespace(_) => self.clone(),
        })
    }

    /// The object while it lets flows that it took go on and takes no further one.
    #[must_use]
    pub fn retired(&self) -> Self {
        match self {
            Self::Nft(rules) => Self::Nft(rules.retired()),
            Self::Iptables(rules, variant) => Self::Iptables(rules.retired(), *variant),
            Self::Hooks(hooks) => Self::Hooks(Hooks {
                takes: false,
                ..hooks.clone()
            }),
            Self::Lookup(lookup) => Self::Lookup(Lookup {
                takes: false,
                ..lookup.clone()
            }),
            Self::Listener(_)
            | Self::Cgroup(_)
            | Self::Members { .. }
            | Self::Device(_)
            | Self::Route(_)
            | Self::Rule(_)
            | Self::Namespace(_)
            | Self::Child(_) => self.clone(),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Cgroup => "cgroup",
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::Device => "device",
            Self::Route => "route",
            Self::Ebpf => "ebpf",
            Self::Namespace => "namespace",
            Self::Child => "child",
        })
    }
}

impl fmt::Display for IptablesVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(listener) => listener.fmt(f),
            Self::Cgroup(cgroup) => write!(f, "cgroup {cgroup}"),
            Self::Members { cgroup, pids } => {
                write!(f, "cgroup {cgroup} takes in")?;
                for pid in pids {
                    write!(f, " process {pid}")?;
                }
                f.write_str(" and what they start")
            }
            Self::Nft(rules) => write!(f, "nft table {}\n{}", table_name(rules), indent(rules)),
            Self::Iptables(rules, variant) => {
                write!(f, "{variant} chains, {} part", rules.role)?;
                for family in &rules.families {
                    write!(f, ", {family}")?;
                }
                write!(f, "\n{}", indent(rules))
            }
            Self::Device(device) => device.fmt(f),
            Self::Route(route) => route.fmt(f),
            Self::Hooks(hooks) => hooks.fmt(f),
            Self::Lookup(lookup) => lookup.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
            Self::Namespace(namespace) => namespace.fmt(f),
            Self::Child(setting) => setting.fmt(f),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, masked } = self;
        f.write_str("namespaces of users, network and mounts; lo")?;
        for address in addresses {
            write!(f, " {address}")?;
        }
        for path in masked {
            write!(f, "\n  covers {path}")?;
        }
        Ok(())
    }
}

fn table_name(rules: &Ruleset) -> &'static str {
    match rules.role {
        crate::ruleset::Role::Steer => "inet steer_{instance}, gone with its owner",
        crate::ruleset::Role::Guard => "inet steer_{instance}_guard",
    }
}

fn indent(rules: &Ruleset) -> String {
    let text = rules.to_string();
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str("  ");
        out.push_str(line);
    }
    out
}
