//! What is there on this host: asked without privilege, changing nothing.

mod families;
mod file;
mod interfaces;
mod iptables;
mod nft;
mod privilege;
mod resolvers;
mod users;

use std::collections::BTreeMap;

use steer_core::host::{Host, Presence, Transparency};

pub use file::{HostError, load, save};

use crate::cgroup::CgroupTree;

/// Asks this host.
///
/// What cannot be asked is [`Presence::Unknown`] with the reason; nothing is guessed.
///
/// ```
/// let host = steer_kernel::host::observe();
/// assert_eq!(host.users.get("root"), Some(&0));
/// ```
#[must_use]
pub fn observe() -> Host {
    let netfilter = nft::ask();
    Host {
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        net_admin: privilege::net_admin(&netfilter),
        nft: nft::presence(netfilter),
        iptables: iptables::programs(),
        cgroup2: cgroup2(),
        own_cgroup: CgroupTree::own().ok(),
        families: families::usable(),
        socket_families: families::known(),
        uid: nix::unistd::geteuid().as_raw(),
        users: users::names("/etc/passwd"),
        groups: users::names("/etc/group"),
        interfaces: interfaces::all(),
        tproxy: Transparency {
            nft: nft::tproxy(netfilter),
            iptables: iptables::tproxy(),
        },
        neighbours: [nft::neighbours(), iptables::neighbours()].concat(),
        resolvers: resolvers::all(),
        netns: BTreeMap::new(),
    }
}

/// Whether the hierarchy can be reached, mounted or not.
fn cgroup2() -> Presence {
    match CgroupTree::open() {
        Ok(_) => Presence::Present,
        Err(error) => {
            let why = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            match std::fs::read_to_string("/proc/filesystems") {
                Ok(list) if list.lines().any(|l| l.ends_with("\tcgroup2")) => {
                    Presence::Unknown(format!("it is not mounted, and {why}"))
                }
                Ok(_) => Presence::Absent("the kernel has no cgroup2".to_owned()),
                Err(_) => Presence::Unknown(why),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observing_twice_gives_the_same_host() {
        assert_eq!(observe(), observe());
    }

    #[test]
    fn a_saved_host_is_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let host = observe();
        save(&host, &path).unwrap();
        assert_eq!(load(&path).unwrap(), host);
    }
}
