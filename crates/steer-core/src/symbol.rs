//! Symbols: names in a plan for what exists only at run time.
//!
//! A plan must be the same text on every machine, so a port that the kernel chooses and the
//! cgroup of a command stand in it by name. [`Bindings`] gives each name its value when the plan
//! is put in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Family};
use crate::instance::Instance;
use crate::mark::Mark;

/// The name of a listener in a plan, `outbound` for instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenerId(pub String);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A port: known, or that of a listener of the same plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortRef {
    /// A number.
    Fixed(u16),
    /// Whatever port the listener gets; shown as `{listener}`.
    Listener(ListenerId),
}

impl PortRef {
    /// The number, where it is known.
    #[must_use]
    pub const fn number(&self) -> Option<u16> {
        match self {
            Self::Fixed(port) => Some(*port),
            Self::Listener(_) => None,
        }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(port) => port.fmt(f),
            Self::Listener(id) => write!(f, "{{{id}}}"),
        }
    }
}

/// A mark: known, or the one that this instance's packets carry on their way to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkRef {
    /// These bits.
    Fixed(Mark),
    /// The steering mark of the instance's slot; shown as `{mark}`.
    Steer,
}

impl MarkRef {
    /// The bits, where they are known.
    #[must_use]
    pub const fn bits(self) -> Option<Mark> {
        match self {
            Self::Fixed(mark) => Some(mark),
            Self::Steer => None,
        }
    }
}

impl fmt::Display for MarkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(mark) => mark.fmt(f),
            Self::Steer => f.write_str("{mark}"),
        }
    }
}

/// A routing table: known, or that of the instance's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableRef {
    /// A number.
    Fixed(u32),
    /// The table of the instance's slot; shown as `{table}`.
    Steer,
}

impl TableRef {
    /// The number, where it is known.
    #[must_use]
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::Fixed(number) => Some(number),
            Self::Steer => None,
        }
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(number) => number.fmt(f),
            Self::Steer => f.write_str("{table}"),
        }
    }
}

/// A control group of the unified hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupRef {
    /// A path below the root of the hierarchy, without a slash at either end.
    Path(String),
    /// The cgroup that is made for the command of a `run`; shown as `{command}`.
    Command,
}

impl fmt::Display for CgroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Command => f.write_str("{command}"),
        }
    }
}

/// A process whose namespaces are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessRef {
    /// Its id.
    Pid(u32),
    /// The one that holds the namespaces of the plan.
    Holder,
}

/// The name of a control listener's socket in the abstract namespace, without the leading zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRef {
    /// This name.
    Name(String),
    /// That of a listener of the same plan; shown as `{listener}`.
    Listener(ListenerId),
}

impl fmt::Display for ControlRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "@{name}"),
            Self::Listener(id) => write!(f, "{{{id}}}"),
        }
    }
}

/// A list of names in the intent whose addresses are followed while a plan is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSet {
    /// `traffic.include.domains`
    Included,
    /// `traffic.exclude.domains`
    Excluded,
}

impl fmt::Display for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Included => "{included names}",
            Self::Excluded => "{excluded names}",
        })
    }
}

/// The values of a plan's symbols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bindings {
    /// The name of the steering, which tags every object.
    pub instance: Instance,
    /// The port that each listener got.
    pub ports: BTreeMap<ListenerId, u16>,
    /// The name of each control listener's socket.
    #[serde(default)]
    pub controls: BTreeMap<ListenerId, String>,
    /// The process that holds the namespaces of the plan.
    #[serde(default)]
    pub holder: Option<u32>,
    /// The path of the command's cgroup below the root of the hierarchy.
    pub command_cgroup: Option<String>,
    /// What tells this instance's marked packets from those of others in the namespace.
    pub slot: Option<Slot>,
    /// The addresses that names are known to have; a set that is not there has none yet.
    #[serde(default)]
    pub names: Followed,
}

/// The addresses that names are known to have, by set.
pub type Followed = BTreeMap<NameSet, BTreeSet<IpAddr>>;

/// The mark and the routing table of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number, from 0.
    pub number: u8,
    /// What its packets carry on their way to the engine.
    pub mark: Mark,
}

impl Slot {
    /// The slot of a number, with the default marks.
    #[must_use]
    pub const fn numbered(number: u8) -> Self {
        Self {
            number,
            mark: Mark::slot(number),
        }
    }

    /// Its routing table.
    #[must_use]
    pub const fn table(self) -> u32 {
        FIRST_TABLE + self.number as u32
    }
}

/// The routing table of slot 0; the others follow. No neighbour is known to use these numbers.
pub const FIRST_TABLE: u32 = 15001;

/// A symbol that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan names {symbol}, which nothing gives a value")]
pub struct Unbound {
    /// The symbol as the plan shows it.
    pub symbol: String,
}

impl Bindings {
    /// No values but the instance.
    #[must_use]
    pub const fn new(instance: Instance) -> Self {
        Self {
            instance,
            ports: BTreeMap::new(),
            controls: BTreeMap::new(),
            holder: None,
            command_cgroup: None,
            slot: None,
            names: BTreeMap::new(),
        }
    }

    /// A port with its value.
    pub fn port(&self, port: &PortRef) -> Result<PortRef, Unbound> {
        match port {
            PortRef::Fixed(_) => Ok(port.clone()),
            PortRef::Listener(id) => self
                .ports
                .get(id)
                .map(|number| PortRef::Fixed(*number))
                .ok_or_else(|| Unbound {
                    symbol: port.to_string(),
                }),
        }
    }

    /// A mark with its bits.
    pub fn mark(&self, mark: MarkRef) -> Result<MarkRef, Unbound> {
        match (mark, self.slot) {
            (MarkRef::Fixed(_), _) => Ok(mark),
            (MarkRef::Steer, Some(slot)) => Ok(MarkRef::Fixed(slot.mark)),
            (MarkRef::Steer, None) => Err(Unbound {
                symbol: mark.to_string(),
            }),
        }
    }

    /// A routing table with its number.
    pub fn table(&self, table: TableRef) -> Result<TableRef, Unbound> {
        match (table, self.slot) {
            (TableRef::Fixed(_), _) => Ok(table),
            (TableRef::Steer, Some(slot)) => Ok(TableRef::Fixed(slot.table())),
            (TableRef::Steer, None) => Err(Unbound {
                symbol: table.to_string(),
            }),
        }
    }

    /// The addresses of a set of names in one family, as networks of one address each.
    #[must_use]
    pub fn addresses(&self, names: NameSet, family: Family) -> Vec<Cidr> {
        let of_family = |ip: &&IpAddr| Family::of(**ip) == family;
        let known = self.names.get(&names).into_iter().flatten();
        known
            .filter(of_family)
            .map(|ip| Cidr::host(ip.to_canonical()))
            .collect()
    }

    /// A cgroup with its path.
    pub fn cgroup(&self, cgroup: &CgroupRef) -> Result<CgroupRef, Unbound> {
        match (cgroup, &self.command_cgroup) {
            (CgroupRef::Path(_), _) => Ok(cgroup.clone()),
            (CgroupRef::Command, Some(path)) => Ok(CgroupRef::Path(path.clone())),
            (CgroupRef::Command, None) => Err(Unbound {
                symbol: cgroup.to_string(),
            }),
        }
    }

    /// A process with its id.
    pub fn process(&self, process: ProcessRef) -> Result<ProcessRef, Unbound> {
        match (process, self.holder) {
            (ProcessRef::Pid(_), _) => Ok(process),
            (ProcessRef::Holder, Some(pid)) => Ok(ProcessRef::Pid(pid)),
            (ProcessRef::Holder, None) => Err(Unbound {
                symbol: "the holder of the namespaces".to_owned(),
            }),
        }
    }

    /// A control listener with the name of its socket.
    pub fn control(&self, control: &ControlRef) -> Result<ControlRef, Unbound> {
        match control {
            ControlRef::Name(_) => Ok(control.clone()),
            ControlRef::Listener(id) => self
                .controls
                .get(id)
                .map(|name| ControlRef::Name(name.clone()))
                .ok_or_else(|| Unbound {
                    symbol: control.to_string(),
                }),
        }
    }

    /// A text in which each `{listener}` is replaced by its port, or by its socket's name where it
    /// is a control listener.
    pub fn text(&self, template: &str) -> Result<String, Unbound> {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((head, tail)) = rest.split_once('{') {
            let (id, after) = tail.split_once('}').ok_or_else(|| Unbound {
                symbol: format!("{{{tail}"),
            })?;
            let id = ListenerId(id.to_owned());
            out.push_str(head);
            match self.controls.get(&id) {
                Some(name) => out.push_str(name),
                None => out.push_str(&self.port(&PortRef::Listener(id))?.to_string()),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}
