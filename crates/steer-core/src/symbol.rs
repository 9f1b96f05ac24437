//! Symbols: names in a plan for what exists only at run time.
//!
//! A plan must be the same text on every machine, so a port that the kernel chooses and the
//! cgroup of a command stand in it by name. [`Bindings`] gives each name its value when the plan
//! is put in force.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::instance::Instance;

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

/// The values of a plan's symbols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bindings {
    /// The name of the steering, which tags every object.
    pub instance: Instance,
    /// The port that each listener got.
    pub ports: BTreeMap<ListenerId, u16>,
    /// The path of the command's cgroup below the root of the hierarchy.
    pub command_cgroup: Option<String>,
}

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
            command_cgroup: None,
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

    /// A text in which each `{listener}` is replaced by its port.
    pub fn text(&self, template: &str) -> Result<String, Unbound> {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((head, tail)) = rest.split_once('{') {
            let (id, after) = tail.split_once('}').ok_or_else(|| Unbound {
                symbol: format!("{{{tail}"),
            })?;
            let port = self.port(&PortRef::Listener(ListenerId(id.to_owned())))?;
            out.push_str(head);
            out.push_str(&port.to_string());
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}
