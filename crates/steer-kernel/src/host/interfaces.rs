//! The network interfaces of the calling thread's namespace.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use steer_core::address::Family;
use steer_core::host::Interface;

use crate::device::link::Links;
use crate::netlink::Refused;

/// Every interface, in the order of names.
pub(super) fn all() -> Vec<Interface> {
    // Of the thread, not the process: it may be inside another namespace.
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let bridges = bridges();
    let mut interfaces: Vec<Interface> = names(&table)
        .map(|name| ask(name, bridges.contains(name)))
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

/// The names of bridges; none where netlink is not there to ask.
fn bridges() -> BTreeSet<String> {
    let all = || -> Result<_, Refused> { Links::open()?.all() };
    let bridges = all().unwrap_or_default().into_iter();
    bridges
        .filter(|link| link.kind.as_deref() == Some("bridge"))
        .map(|link| link.name)
        .collect()
}

/// The names in proc_net_dev(5), behind two lines of titles.
fn names(table: &str) -> impl Iterator<Item = &str> {
    let lines = table.lines().skip(2);
    lines.filter_map(|line| Some(line.rsplit_once(':')?.0.trim()))
}

fn ask(name: &str, bridge: bool) -> Interface {
    let forwards = Family::ALL
        .into_iter()
        .filter(|family| is_set(*family, name, "forwarding"))
        .collect();
    // The kernel takes the greater of the two, and IPv6 has no such setting.
    let src_valid_mark = ["all", name]
        .into_iter()
        .any(|conf| is_set(Family::V4, conf, "src_valid_mark"));
    Interface {
        name: name.to_owned(),
        forwards,
        src_valid_mark,
        bridge,
    }
}

/// Whether a setting of an interface is other than 0; what cannot be read is not set.
///
/// `/proc/sys/net` is that of the thread's namespace, whoever mounted it.
fn is_set(family: Family, interface: &str, setting: &str) -> bool {
    let protocol = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let path = Path::new("/proc/sys/net")
        .join(protocol)
        .join("conf")
        .join(interface)
        .join(setting);
    fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_space_and_colons_before_the_counters() {
        let table = "Inter-| Receive\n face |bytes\n    lo: 1 2\neth0.5:7 8\n  a:b: 1\n";
        assert_eq!(names(table).collect::<Vec<_>>(), ["lo", "eth0.5", "a:b"]);
    }

    #[test]
    fn the_loopback_interface_is_there() {
        assert!(all().iter().any(|interface| interface.name == "lo"));
    }
}
