//! What the hooks are asked to do, in the form in which the maps hold it.
//!
//! Pure: the same hooks give the same filter. What only the host knows is handed in.

mod inbound;
mod lists;
mod nets;
mod outbound;
mod ports;
#[cfg(test)]
mod tests;

use steer_core::key::Key;

pub(crate) use nets::Net;

/// What a generation of the maps holds; `C` is the structure that says the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter<C> {
    /// The flags and lists.
    pub(crate) config: C,
    /// The set of ports, a bit each.
    pub(crate) ports: Vec<u64>,
    /// The networks, each with what holds for it.
    pub(crate) nets: Vec<Net>,
}

/// What only the host knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The cookie of the hooks' network namespace.
    pub(crate) netns: u64,
    /// The ids of [`Hooks::within`](steer_core::object::Hooks::within).
    pub(crate) within: Vec<u64>,
    /// The ids of the cgroups of `scope.except`.
    pub(crate) except: Vec<u64>,
}

/// The id of a cgroup that does not exist: no process is ever in it.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// Why hooks cannot be asked for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A list is longer than a program in the kernel can look through.
    #[error("{part} lists {count} entries, and the hooks look through {most} at most")]
    TooMany {
        /// What is too long.
        part: Part,
        /// How long it is, neighbours joined.
        count: usize,
        /// How long it may be.
        most: usize,
    },
    /// A name that no process can have.
    #[error("{part} has {name:?}, and names of processes have 1 to 15 bytes")]
    Name {
        /// The list.
        part: Part,
        /// The name.
        name: String,
    },
    /// A property of senders that the hooks do not see.
    #[error("the hooks cannot tell by {part}")]
    Unseen {
        /// What.
        part: Part,
    },
}

/// A key of the scope or of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Under `scope`.
    Of(Key),
    /// Under `scope.except`.
    Except(Key),
    /// Of the traffic.
    Traffic(Key),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Of(key) | Self::Traffic(key) => key.fmt(f),
            Self::Except(key) => {
                let key = key.to_string();
                let name = key.strip_prefix("scope.").unwrap_or(&key);
                write!(f, "scope.except.{name}")
            }
        }
    }
}

impl FilterError {
    /// What to do next.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::TooMany {
                part: Part::Traffic(_),
                ..
            } => "join networks to larger ones",
            Self::TooMany { .. } => {
                "write ranges, or put the processes into a cgroup and choose that: scope.cgroup"
            }
            Self::Name { .. } => "look for the name: cat /proc/PID/comm",
            Self::Unseen { .. } => "leave the key out, or choose by cgroup, uid, gid or command",
        }
    }
}
