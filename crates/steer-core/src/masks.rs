//! Sockets by path through which a program would get out without a packet of its own: what every
//! [`Namespace`](crate::object::Namespace) of a command covers.

use crate::host::Host;

/// A path that the command does not see, and what could be done by it.
struct Mask {
    /// `{uid}` stands for the user's id, `{home}` for the user's home directory.
    path: &'static str,
    why: &'static str,
}

/// The paths on a host, for its user.
#[must_use]
pub fn paths(host: &Host) -> Vec<String> {
    let id = host.uid.to_string();
    let of_user = |mask: &Mask| {
        let path = mask.path.replace("{uid}", &id);
        match (path.strip_prefix("{home}"), &host.home) {
            (Some(below), Some(home)) => Some(format!("{home}{below}")),
            (Some(_), None) => None,
            (None, _) => Some(path),
        }
    };
    let mut paths: Vec<String> = MASKS.iter().filter_map(of_user).collect();
    for named in &host.container_sockets {
        if !paths.contains(named) {
            paths.push(named.clone());
        }
    }
    paths
}

/// What could be done by them, each once, in the order of the list.
#[must_use]
pub fn reasons() -> Vec<&'static str> {
    let mut reasons: Vec<&str> = MASKS.iter().map(|mask| mask.why).collect();
    reasons.dedup();
    reasons
}

const fn mask(path: &'static str, why: &'static str) -> Mask {
    Mask { path, why }
}

const NAMES: &str = "names would be looked up by services of the host";
const CONTAINERS: &str = "containers and machines would be started outside";
const UNITS: &str = "units would be started outside, by service managers and message buses";
const TERMINALS: &str = "commands would be typed into terminals outside";
const FETCHES: &str = "services would fetch on the program's behalf";

const MASKS: [Mask; 34] = [
    mask("/run/systemd/resolve/io.systemd.Resolve", NAMES),
    mask("/run/systemd/resolve/io.systemd.Resolve.Monitor", NAMES),
    mask("/run/nscd/socket", NAMES),
    // The path that the C library has; /var/run is a link to /run on most hosts.
    mask("/var/run/nscd/socket", NAMES),
    mask("/var/lib/sss/pipes", NAMES),
    mask("/run/avahi-daemon/socket", NAMES),
    mask("/run/docker.sock", CONTAINERS),
    mask("/run/user/{uid}/docker.sock", CONTAINERS),
    // Docker Desktop has several in each.
    mask("{home}/.docker/run", CONTAINERS),
    mask("{home}/.docker/desktop", CONTAINERS),
    mask("/run/containerd/containerd.sock", CONTAINERS),
    mask("/run/k3s/containerd/containerd.sock", CONTAINERS),
    mask("/run/user/{uid}/containerd-rootless", CONTAINERS),
    mask("/run/podman/podman.sock", CONTAINERS),
    mask("/run/user/{uid}/podman", CONTAINERS),
    mask("/run/crio/crio.sock", CONTAINERS),
    mask("/run/buildkit", CONTAINERS),
    mask("/run/user/{uid}/buildkit", CONTAINERS),
    mask("/var/lib/lxd/unix.socket", CONTAINERS),
    mask("/var/snap/lxd/common/lxd/unix.socket", CONTAINERS),
    mask("/var/lib/incus/unix.socket", CONTAINERS),
    mask("/run/libvirt", CONTAINERS),
    mask("/run/user/{uid}/libvirt", CONTAINERS),
    mask("/run/systemd/machine/io.systemd.Machine", CONTAINERS),
    mask("/run/systemd/private", UNITS),
    mask("/run/user/{uid}/systemd/private", UNITS),
    mask("/run/dbus/system_bus_socket", UNITS),
    mask("/run/user/{uid}/bus", UNITS),
    mask("/tmp/tmux-{uid}", TERMINALS),
    mask("/run/screen", TERMINALS),
    mask("/run/snapd.socket", FETCHES),
    mask("/run/snapd-snap.socket", FETCHES),
    mask("/run/user/{uid}/gnupg/S.dirmngr", FETCHES),
    mask("/var/lib/gssproxy/default.sock", FETCHES),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_sockets_are_among_the_paths() {
        let host = Host {
            uid: 1000,
            ..Host::example()
        };
        let paths = paths(&host);
        assert!(paths.contains(&"/run/user/1000/bus".to_owned()));
        assert!(paths.contains(&"/run/docker.sock".to_owned()));
        assert!(paths.iter().all(|path| path.starts_with('/')));
        assert!(paths.contains(&"/home/demo/.docker/desktop".to_owned()));
        assert_eq!(reasons().len(), 5);
    }

    #[test]
    fn what_the_surroundings_name_is_covered_once() {
        let host = Host {
            home: None,
            container_sockets: ["/srv/engine.sock", "/run/docker.sock"]
                .map(str::to_owned)
                .to_vec(),
            ..Host::example()
        };
        let paths = paths(&host);
        let times = |path: &str| paths.iter().filter(|other| *other == path).count();
        assert_eq!(times("/srv/engine.sock"), 1);
        assert_eq!(times("/run/docker.sock"), 1);
        assert!(!paths.iter().any(|path| path.contains("home")));
    }
}
