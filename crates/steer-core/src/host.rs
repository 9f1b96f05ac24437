//! The facts of a host that a plan depends on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Family;
use crate::object::IptablesVariant;

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
    /// User names with their ids, for scopes.
    pub users: BTreeMap<String, u32>,
    /// Group names with their ids, for scopes.
    pub groups: BTreeMap<String, u32>,
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
            users: BTreeMap::from([("root".to_owned(), 0), ("nobody".to_owned(), 65534)]),
            groups: BTreeMap::from([("root".to_owned(), 0), ("nogroup".to_owned(), 65534)]),
        }
    }
}
