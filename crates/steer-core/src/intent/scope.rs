//! Whose traffic is steered.

use serde::{Deserialize, Serialize};

use crate::address::IdRange;

/// Whose traffic: every key of `of` must hold, none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The command that `run` starts, and its descendants.
    pub command: bool,
    /// Whose traffic is meant.
    pub of: Selector,
    /// Who is left out.
    pub except: Selector,
}

/// Properties of a sender; values within a key are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Everybody on this host.
    pub host: bool,
    /// Cgroups (and all below them) as paths below the root of the unified hierarchy, or units of
    /// systemd's by name (`nginx.service`), of which `Host::units` has the paths.
    pub cgroup: Vec<String>,
    /// User ids of the sending socket.
    pub uid: Vec<IdRange>,
    /// Group ids of the sending socket.
    pub gid: Vec<IdRange>,
    /// Names of processes when they connect, exactly (`/proc/PID/comm`, 15 bytes at most).
    #[serde(default)]
    pub command: Vec<String>,
    /// Running processes by their ids, with those that they start.
    #[serde(default)]
    pub pid: Vec<u32>,
    /// Interfaces at which forwarded traffic enters.
    pub interface: Vec<String>,
    /// Another network namespace: a path, a pid or a container.
    pub netns: Option<String>,
    /// Traffic to this host.
    pub inbound: bool,
}

impl Selector {
    /// Whether no key is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it tells some programs of a host from others.
    #[must_use]
    pub fn narrows(&self) -> bool {
        let Self {
            host: _,
            cgroup,
            uid,
            gid,
            command,
            pid,
            interface: _,
            netns: _,
            inbound: _,
        } = self;
        let lists = [cgroup.len(), uid.len(), gid.len(), command.len(), pid.len()];
        lists.iter().any(|len| *len > 0)
    }
}

impl Scope {
    /// The command that `run` starts, and its descendants.
    #[must_use]
    pub fn command() -> Self {
        Self {
            command: true,
            ..Self::default()
        }
    }

    /// Whether nobody is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.command && self.of.is_empty()
    }

    /// Whether it leaves out nobody on the host.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        let Self {
            command,
            of,
            except,
        } = self;
        of.host && !command && !of.narrows() && !except.narrows()
    }
}
