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
        takes_advertisements: takes_advertisements(name),
    }
}

/// Whether a router's word counts there: as the kernel has it (`ipv6_accept_ra`), 1 stands for hosts and
/// 2 for those that forward as well.
fn takes_advertisements(name: &str) -> bool {
    let enough = match is_set(Family::V6, name, "forwarding") {
        true => 2,
        false => 1,
    };
    let accepts = setting(Family::V6, name, "accept_ra").and_then(|value| value.parse().ok());
    accepts.is_some_and(|value: i32| value >= enough) && !is_set(Family::V6, name, "disable_ipv6")
}

/// Whether a setting of an interface is other than 0; what cannot be read is not set.
fn is_set(family: Family, interface: &str, name: &str) -> bool {
    setting(family, interface, name).is_some_and(|value| value != "0")
}

/// A setting of an interface, where it can be read.
///
/// `/proc/sys/net` is that of the thread's namespace, whoever mounted it.
fn setting(family: Family, interface: &str, name: &str) -> Option<String> {
    let protocol = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let path = Path::new("/proc/sys/net")
        .join(protocol)
        .join("conf")
        .join(interface)
        .join(name);
    let value = fs::read_to_string(path).ok()?;
    Some(value.trim().to_owned())
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
