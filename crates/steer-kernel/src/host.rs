//! What is there on this host: asked without privilege, changing nothing.

mod bpf;
mod confinement;
mod containers;
mod families;
mod file;
mod interfaces;
mod iptables;
mod libraries;
mod named;
mod namespace;
mod nft;
pub(crate) mod privilege;
mod resolvers;
mod rules;
mod supervision;
mod tun;
mod users;

use std::collections::BTreeMap;

use std::path::Path;

use steer_core::host::{Host, Namespace, Presence, Transparency};
use steer_core::intent::Intent;
use steer_core::plan::Netns;

pub use file::{HostError, load, save};
pub use libraries::libraries;

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
    asked(Path::new("/etc/resolv.conf"))
}

/// Asks this host what a plan for the intent depends on.
///
/// The namespaces, units and processes that its scope names are looked for, and what belongs to a namespace (packet
/// filters, interfaces, neighbours, resolvers) is asked inside the one that is to be steered.
///
/// ```
/// use steer_core::host::Namespace;
/// use steer_core::instance::Instance;
/// use steer_core::intent::{Intent, Scope};
///
/// let mut intent = Intent::new(Instance::new("main")?, Scope::default());
/// intent.scope.of.netns = Some("no-such-container".to_owned());
/// let host = steer_kernel::host::observe_for(&intent);
/// assert!(matches!(host.netns["no-such-container"], Namespace::Absent(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn observe_for(intent: &Intent) -> Host {
    let scope = &intent.scope;
    let keys = [&scope.of.netns, &scope.except.netns].into_iter().flatten();
    let found: BTreeMap<String, Namespace> = keys
        .map(|key| (key.clone(), namespace::find(key)))
        .collect();
    let steered = scope.of.netns.as_ref().and_then(|key| found.get(key));
    let inside = match steered {
        Some(Namespace::At(path)) => {
            let resolv_conf = namespace::resolv_conf(path);
            steer_core::netns::open(&Netns::Path(path.clone()))
                .and_then(|netns| steer_core::netns::within(netns, || asked(&resolv_conf)))
        }
        _ => Ok(observe()),
    };
    let host = match inside {
        Ok(host) => Host {
            netns: found,
            ..host
        },
        // It was there a moment ago.
        Err(error) => {
            let gone = Namespace::Absent(format!("it went while it was asked: {error}"));
            let key = scope.of.netns.clone().unwrap_or_default();
            Host {
                netns: found.into_iter().chain([(key, gone)]).collect(),
                ..observe()
            }
        }
    };
    with_named(host, intent)
}

/// Adds the units, processes and descriptors that the intent names to what was asked of this host.
#[must_use]
pub fn with_named(host: Host, intent: &Intent) -> Host {
    Host {
        units: named::units(&intent.scope),
        processes: named::processes(&intent.scope, &intent.instance),
        descriptors: tun::descriptors(&intent.link),
        ..host
    }
}

/// Asks in the network namespace of the calling thread.
fn asked(resolv_conf: &Path) -> Host {
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
        bpf: bpf::presence(),
        tun: tun::presence(),
        descriptors: BTreeMap::new(),
        units: BTreeMap::new(),
        processes: BTreeMap::new(),
        user_namespaces: confinement::presence(),
        supervision: supervision::presence(),
        libraries: libraries().and_then(|dir| dir.into_os_string().into_string().ok()),
        home: containers::home(),
        container_sockets: containers::sockets(),
        users: users::names("/etc/passwd"),
        groups: users::names("/etc/group"),
        interfaces: interfaces::all(),
        tproxy: Transparency {
            nft: nft::tproxy(netfilter),
            iptables: iptables::tproxy(),
        },
        neighbours: [
            nft::neighbours(),
            iptables::neighbours(),
            rules::neighbours(),
        ]
        .concat(),
        resolvers: resolvers::of(resolv_conf),
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
