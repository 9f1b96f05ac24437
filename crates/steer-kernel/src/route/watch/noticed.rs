//! What a watch tells of.

use std::fmt;
use std::net::IpAddr;

use steer_core::address::Family;

use super::super::entry::Entry;
use crate::device::link;
use crate::netlink::{Netlink, Refused};

/// Something that others did while ours is in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Noticed {
    /// A policy rule that is asked before ours, and may take what is on its way to the engine.
    RuleBefore {
        /// Its family.
        family: Family,
        /// The rule as `ip rule` shows it.
        rule: String,
    },
    /// A device of ours is gone.
    DeviceGone {
        /// Its name.
        name: String,
    },
    /// A device of ours has another name.
    DeviceRenamed {
        /// The name that our routes know.
        name: String,
        /// The other one.
        now: String,
    },
    /// A device of ours is down.
    DeviceDown {
        /// Its name.
        name: String,
    },
    /// The MTU of a device of ours is less than IPv6 needs.
    DeviceNarrow {
        /// Its name.
        name: String,
        /// The MTU that it has.
        mtu: u32,
        /// The one that it was made with.
        wanted: u32,
    },
    /// A device of ours was down, or too narrow for IPv6, and lost what the kernel takes from such
    /// ones; it is to be given that again ([`Watched::lapsed`](super::Watched::lapsed)).
    DeviceLapsed {
        /// Its name.
        name: String,
    },
    /// An address of a device of ours is gone.
    AddressGone {
        /// The device's name.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// A route or rule of ours is gone.
    Gone {
        /// What it was, as the plan shows it.
        what: String,
    },
    /// A default route of others came or went: what the engine dials leaves elsewhere.
    DefaultRoute {
        /// Its family.
        family: Family,
        /// The route as `ip route` shows it.
        route: String,
        /// Whether it is there.
        is_there: bool,
    },
}

impl Noticed {
    /// A default route in the table `main`.
    pub(super) fn default_route(
        socket: &mut Netlink,
        route: &Entry,
        is_there: bool,
    ) -> Result<Self, Refused> {
        let mut text = "default".to_owned();
        if let Some(via) = route.via {
            text = format!("{text} via {via}");
        }
        let links = link::all(socket)?;
        let out = links.iter().find(|link| Some(link.index) == route.out);
        if let Some(link) = out {
            text = format!("{text} dev {}", link.name);
        }
        if route.metric != 0 {
            text = format!("{text} metric {}", route.metric);
        }
        Ok(Self::DefaultRoute {
            family: route.family,
            route: text,
            is_there,
        })
    }

    /// Whether it is there by others, and nothing of ours is missing.
    pub(super) const fn is_of_others(&self) -> bool {
        matches!(self, Self::RuleBefore { .. } | Self::DefaultRoute { .. })
    }

    /// Whether a device is in a state in which the kernel takes from it what it does not give back.
    pub(super) fn lapsing(&self) -> Option<&str> {
        match self {
            Self::DeviceDown { name } | Self::DeviceNarrow { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether something of ours is missing that can be made again while the device is the same.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self, Self::AddressGone { .. } | Self::Gone { .. })
    }

    /// Writes it to the log: as a warning where somebody should act.
    pub(super) fn log(&self) {
        match self.help() {
            Some(help) => tracing::warn!(help, "{self}"),
            None => tracing::info!("{self}"),
        }
    }

    /// What to do next; `None` where nothing is wrong.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::RuleBefore { family, .. } => format!(
                "see {}: that rule needs a larger number than ours, or has to leave out our mark",
                match family {
                    Family::V4 => "ip rule",
                    Family::V6 => "ip -6 rule",
                }
            ),
            Self::DeviceDown { name } => format!("bring it up: ip link set {name} up"),
            Self::DeviceNarrow { name, wanted, .. } => {
                format!("set it again: ip link set {name} mtu {wanted}")
            }
            Self::DeviceGone { .. }
            | Self::DeviceRenamed { .. }
            | Self::AddressGone { .. }
            | Self::Gone { .. } => {
                "start steer again; ip monitor tells which program takes it away".to_owned()
            }
            Self::DeviceLapsed { .. } | Self::DefaultRoute { .. } => return None,
        })
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuleBefore { family, rule } => write!(
                f,
                "a policy rule of another program is asked before ours, and may take what is steered: {family} {rule}"
            ),
            Self::DeviceGone { name } => write!(f, "the device {name} is gone"),
            Self::DeviceRenamed { name, now } => {
                write!(f, "the device {name} was renamed to {now}")
            }
            Self::DeviceDown { name } => write!(f, "the device {name} is down"),
            Self::DeviceNarrow { name, mtu, .. } => write!(
                f,
                "the device {name} has an MTU of {mtu}, and no IPv6 below 1280"
            ),
            Self::DeviceLapsed { name } => write!(
                f,
                "the device {name} was down or too narrow, and its routes are made again"
            ),
            Self::AddressGone { name, address } => {
                write!(f, "the device {name} has lost its address {address}")
            }
            Self::Gone { what } => write!(f, "another program removed the {what}"),
            Self::DefaultRoute {
                family,
                route,
                is_there,
            } => {
                let verb = match is_there {
                    true => "came",
                    false => "went",
                };
                write!(f, "a default route of {family} {verb}: {route}")
            }
        }
    }
}
