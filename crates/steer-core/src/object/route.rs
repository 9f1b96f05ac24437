//! Routes and policy rules of ours.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Family};
use crate::symbol::{MarkRef, TableRef};

/// A route of a table of ours, for every address of a family or those of a network.
///
/// It carries the routing protocol number [`ROUTE_PROTOCOL`], by which it is known as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The family.
    pub family: Family,
    /// The network; `None` means every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<Cidr>,
    /// The table.
    pub table: TableRef,
    /// Where it leads.
    #[serde(default)]
    pub to: Leads,
}

/// Where a route leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leads {
    /// To this host: the addresses are its own (`local default dev lo`).
    #[default]
    Here,
    /// To a device. The route goes with it.
    Device {
        /// Its name.
        name: String,
        /// The neighbour that packets are handed to, at a device with a link layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<IpAddr>,
    },
    /// Nowhere, and whoever sends is told at once (`unreachable`). It is more expensive than one to a
    /// device in the same table, and so holds once that one is gone.
    Nowhere,
}

/// A policy routing rule: packets with the mark are looked up in the table.
///
/// It carries the routing protocol number [`ROUTE_PROTOCOL`], by which it is known as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The family.
    pub family: Family,
    /// What the packets carry.
    pub mark: MarkRef,
    /// Where the packets come in; `lo` means those that this host made; `None` means anywhere.
    ///
    /// The kernel checks a packet's source by a lookup that has no such interface, so a rule with
    /// one is not found by it: with `src_valid_mark=1` a rule without one makes every forwarded
    /// packet a martian.
    pub interface: Option<String>,
    /// The table; the rule's priority is the table's number minus [`TABLE_ABOVE_PRIORITY`].
    pub table: TableRef,
}

impl PolicyRule {
    /// Its place among the rules of the host, once the table is known: before all that others
    /// use by default, after the table `local`.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.table
            .number()
            .map(|table| table.saturating_sub(TABLE_ABOVE_PRIORITY))
    }
}

/// The routing protocol number (`rtm_protocol`, see rtnetlink(7)) of every rule and route of ours.
///
/// Numbers above 4 are free for routing daemons; none of iproute2's list has this one.
pub const ROUTE_PROTOCOL: u8 = 0x5e;

/// What a rule's priority is less than its table's number.
pub const TABLE_ABOVE_PRIORITY: u32 = 13_501;

/// The kernel's table of everybody's routes (`main` in `ip route`).
pub const MAIN_TABLE: u32 = 254;

/// The kernel's own table of local addresses (`local` in `ip route`).
pub const LOCAL_TABLE: u32 = 255;

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            net,
            table,
            to,
        } = self;
        write!(f, "route {family} ")?;
        match to {
            Leads::Here => f.write_str("local ")?,
            Leads::Device { .. } => {}
            Leads::Nowhere => f.write_str("unreachable ")?,
        }
        match net {
            Some(net) => net.fmt(f)?,
            None => f.write_str("default")?,
        }
        match to {
            Leads::Here => f.write_str(" dev lo")?,
            Leads::Device { name, via: None } => write!(f, " dev {name}")?,
            Leads::Device {
                name,
                via: Some(via),
            } => write!(f, " via {via} dev {name}")?,
            Leads::Nowhere => {}
        }
        write!(f, " table {table}")
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            mark,
            interface,
            table,
        } = self;
        write!(f, "rule {family}")?;
        if let Some(priority) = self.priority() {
            write!(f, " priority {priority}")?;
        }
        if let Some(interface) = interface {
            write!(f, " iif {interface}")?;
        }
        write!(f, " fwmark {mark} lookup {table}")
    }
}
