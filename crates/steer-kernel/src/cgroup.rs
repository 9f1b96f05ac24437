//! Control groups: which processes belong to a command or a service.

mod driver;
mod handle;
mod members;
mod tree;
mod unit;

use std::io;

use nix::errno::Errno;

pub use driver::CgroupDriver;
pub use handle::Cgroup;
pub(crate) use tree::own_path;
pub use tree::{CgroupTree, Inhabitants};
pub(crate) use unit::{is_unit, place};

/// The name of the cgroup of an instance's command.
#[must_use]
pub fn command_cgroup(instance: &steer_core::instance::Instance) -> String {
    format!("{PREFIX}{instance}")
}

/// Why nothing could be done with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The hierarchy cannot be reached.
    #[error("the unified cgroup hierarchy cannot be reached")]
    NoHierarchy {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("could not {deed} cgroup {path:?}")]
    Failed {
        /// What was to be done.
        deed: &'static str,
        /// The path below the hierarchy's root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A process that was to be moved is somewhere else.
    #[error("process {pid} is not in cgroup {path:?}")]
    NoProcess {
        /// Its id.
        pid: u32,
        /// The path below the hierarchy's root.
        path: String,
    },
}

impl CgroupError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoHierarchy { .. } => {
                "mount it: mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
            }
            Self::Failed { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENODEV) => {
                    "look for its name: systemd-cgls, or the line 0:: in /proc/PID/cgroup"
                }
                Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                    "run as root, or in a cgroup of your own: systemd-run --user --scope -p Delegate=yes"
                }
                Some(Errno::EBUSY) => {
                    "end the processes that its cgroup.procs lists, then try again"
                }
                Some(Errno::EAGAIN) => "raise cgroup.max.descendants of the cgroups above it",
                _ => "look at the cause above",
            },
            Self::NoProcess { .. } => {
                "see whether it still runs, and its cgroup: the line 0:: in /proc/PID/cgroup"
            }
        }
    }

    /// Whether the cgroup does not exist (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoHierarchy { .. } | Self::NoProcess { .. } => false,
            Self::Failed { source, .. } => matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ENODEV)
            ),
        }
    }

    fn failed(deed: &'static str, path: &str, errno: Errno) -> Self {
        Self::Failed {
            deed,
            path: path.to_owned(),
            source: errno.into(),
        }
    }
}

/// What the names of our cgroups start with.
const PREFIX: &str = "steer-";
