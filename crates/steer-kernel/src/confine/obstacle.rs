//! What keeps a process from namespaces of its own.

use std::fmt;
use std::fs;

use nix::errno::Errno;

use crate::host::privilege;

/// What was attempted when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Making the namespaces.
    Unshare,
    /// Mapping users.
    Map,
    /// Using a capability over what was made.
    Use,
}

/// Why a process cannot have namespaces of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A sysctl that has this value.
    Sysctl {
        /// Its name.
        name: &'static str,
        /// The value that forbids it.
        value: &'static str,
        /// One that allows it.
        allows: &'static str,
    },
    /// Too many, or too deep.
    Limit,
    /// The process's root is not that of its mounts.
    Chroot,
    /// A seccomp filter or a security module.
    Sandbox(Stage, Errno),
    /// The kernel has none.
    Kernel,
    /// Something else.
    Other(Stage, Errno),
}

impl Obstacle {
    /// Finds out what is behind an error.
    pub(crate) fn behind(stage: Stage, errno: Errno) -> Self {
        match errno {
            Errno::ENOSPC | Errno::EUSERS => set_to(&LIMITS).unwrap_or(Self::Limit),
            Errno::EPERM | Errno::EACCES => match forbidden() {
                Some(found) => found,
                None if stage == Stage::Unshare && is_chrooted() => Self::Chroot,
                None => Self::Sandbox(stage, errno),
            },
            Errno::EINVAL | Errno::ENOSYS if stage == Stage::Unshare => Self::Kernel,
            _ => Self::Other(stage, errno),
        }
    }

    /// What to do next.
    pub(crate) fn help(&self) -> String {
        let first = match self {
            Self::Sysctl { name, allows, .. } => {
                format!("as root: sysctl -w {name}={allows}")
            }
            Self::Limit => {
                "raise user.max_user_namespaces, user.max_net_namespaces or user.max_mnt_namespaces as root, or nest less deeply (the kernel allows 32 levels)".to_owned()
            }
            Self::Chroot => "run steer outside the chroot".to_owned(),
            Self::Sandbox(..) => {
                "start the container with a seccomp profile that allows unshare(2) and mount(2) (docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)".to_owned()
            }
            Self::Kernel => "use a kernel with CONFIG_USER_NS and CONFIG_NET_NS".to_owned(),
            Self::Other(..) => "see what `unshare -Urnm true` says".to_owned(),
        };
        format!("{first}; or use a method that needs none: --method seccomp, preload or env")
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { name, value, .. } => write!(f, "{name} is {value}"),
            Self::Limit => f.write_str("there are too many namespaces, or they are too deep"),
            Self::Chroot => f.write_str("this process runs in a chroot"),
            Self::Sandbox(stage, errno) => write!(
                f,
                "a sandbox or security module forbids to {stage}: {}",
                errno.desc()
            ),
            Self::Kernel => f.write_str("the kernel has no user or network namespaces"),
            Self::Other(stage, errno) => write!(f, "could not {stage}: {}", errno.desc()),
        }
    }
}

impl Stage {
    const ALL: [Self; 3] = [Self::Unshare, Self::Map, Self::Use];

    /// The byte by which a child tells where it failed.
    pub(crate) const fn byte(self) -> u8 {
        self as u8
    }

    /// The stage that a child has told.
    pub(crate) fn told(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.byte() == byte)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unshare => "make namespaces",
            Self::Map => "map users in them",
            Self::Use => "change what is in them",
        })
    }
}

/// A switch that is off; it does not concern whoever may administer the system.
fn forbidden() -> Option<Obstacle> {
    let may_all = privilege::capabilities().is_some_and(|held| held & SYS_ADMIN != 0);
    (!may_all).then(|| set_to(&SWITCHES)).flatten()
}

/// The first of these sysctls that has the value that forbids it.
fn set_to(sysctls: &[(&'static str, &'static str, &'static str)]) -> Option<Obstacle> {
    sysctls.iter().find_map(|&(name, value, allows)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let found = fs::read_to_string(path).ok()?;
        (found.trim() == value).then_some(Obstacle::Sysctl {
            name,
            value,
            allows,
        })
    })
}

/// Whether the root directory is not the root of a mount, as far as it can be told: then the
/// kernel makes no user namespace.
fn is_chrooted() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let is_root = |line: &str| line.split(' ').nth(4) == Some("/");
    !mounts.lines().any(is_root)
}

/// Bit 21, capabilities(7).
const SYS_ADMIN: u64 = 1 << 21;
/// Sysctls of limits, the value that forbids and one that allows.
const LIMITS: [(&str, &str, &str); 3] = [
    ("user.max_user_namespaces", "0", "15000"),
    ("user.max_net_namespaces", "0", "15000"),
    ("user.max_mnt_namespaces", "0", "15000"),
];
/// Sysctls of some distributions, as above.
const SWITCHES: [(&str, &str, &str); 2] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_what_is_behind_it() {
        let kernel = Obstacle::behind(Stage::Unshare, Errno::EINVAL);
        assert_eq!(kernel, Obstacle::Kernel);
        let other = Obstacle::behind(Stage::Map, Errno::EINVAL);
        assert_eq!(other, Obstacle::Other(Stage::Map, Errno::EINVAL));
        assert!(other.to_string().starts_with("could not map users in them"));
    }

    #[test]
    fn a_sysctl_is_named_with_a_command_that_allows_it() {
        let switch = Obstacle::Sysctl {
            name: "kernel.unprivileged_userns_clone",
            value: "0",
            allows: "1",
        };
        assert_eq!(switch.to_string(), "kernel.unprivileged_userns_clone is 0");
        let help = switch.help();
        assert!(
            help.contains("sysctl -w kernel.unprivileged_userns_clone=1"),
            "{help}"
        );
    }

    #[test]
    fn what_a_child_tells_is_the_stage_that_failed() {
        for stage in Stage::ALL {
            assert_eq!(Stage::told(stage.byte()), Some(stage));
        }
        assert_eq!(Stage::told(200), None);
    }
}
