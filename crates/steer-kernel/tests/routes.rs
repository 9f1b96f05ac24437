//! The driver of routes and policy rules against the kernel.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use lab::{Host, Lab, Snapshot, eventually, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::{Device, Domain, LOCAL_TABLE, Layer, Leads, Object, PolicyRule, Route};
use steer_core::plan::Netns;
use steer_core::symbol::{FIRST_TABLE, MarkRef, Slot, TableRef};
use steer_kernel::device::DeviceDriver;
use steer_kernel::route::RouteDriver;

fn host() -> Host {
    Lab::new("routes").host("app")
}

fn netns(host: &Host) -> Netns {
    Netns::Path(host.namespace_path().to_str().unwrap().to_owned())
}

fn route(family: Family, slot: Slot) -> Object {
    Object::Route(Route {
        family,
        net: None,
        table: TableRef::Fixed(slot.table()),
        to: Leads::Here,
    })
}

fn rule(family: Family, slot: Slot, interface: Option<&str>) -> Object {
    Object::Rule(PolicyRule {
        family,
        mark: MarkRef::Fixed(slot.mark),
        interface: interface.map(str::to_owned),
        table: TableRef::Fixed(slot.table()),
    })
}

/// A route and two rules a family.
fn objects(slot: Slot) -> Vec<Object> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                rule(family, slot, Some("lo")),
                rule(family, slot, None),
                route(family, slot),
            ]
        })
        .collect()
}

fn set(host: &Host, from: &[Object], to: &[Object]) -> Result<(), DriverError> {
    RouteDriver::new().set(&Change {
        instance: &Instance::new("main").unwrap(),
        netns: &netns(host),
        from,
        to,
    })
}

/// What stands of ours, as `ip` tells it.
fn told(host: &Host) -> Vec<String> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        let rules = host.ip(&[family, "rule", "show"]);
        let ours = rules.lines().filter(|line| line.contains("proto 94"));
        lines.extend(ours.map(tidy));
        let table = (FIRST_TABLE..FIRST_TABLE + u32::from(Mark::SLOTS)).map(|t| t.to_string());
        for table in table {
            let shown = host
                .program("ip")
                .args([family, "route", "show", "table", &table])
                .run();
            lines.extend(
                shown
                    .stdout
                    .lines()
                    .map(|l| format!("{table}: {}", tidy(l))),
            );
        }
    }
    lines
}

fn tidy(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_and_routes_are_made_as_ip_shows_them_and_removed_again() {
    require!(Root);
    let host = host();
    let before = Snapshot::take(&host).of_host_only();
    let slot = Slot::numbered(0);
    set(&host, &[], &objects(slot)).unwrap();
    assert_eq!(
        told(&host),
        [
            "1500: from all fwmark 0x80000000/0xf0000000 iif lo lookup 15001 proto 94",
            "1500: from all fwmark 0x80000000/0xf0000000 lookup 15001 proto 94",
            "15001: local default dev lo proto 94 scope host",
            "1500: from all fwmark 0x80000000/0xf0000000 iif lo lookup 15001 proto 94",
            "1500: from all fwmark 0x80000000/0xf0000000 lookup 15001 proto 94",
            "15001: local default dev lo proto 94 metric 1024 pref medium",
        ]
    );
    // Twice is once, and whatever the caller says stands, the kernel knows better.
    let once = told(&host);
    set(&host, &objects(slot), &objects(slot)).unwrap();
    set(&host, &[], &objects(slot)).unwrap();
    assert_eq!(told(&host), once);
    set(&host, &objects(slot), &[]).unwrap();
    set(&host, &objects(slot), &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn another_slot_takes_over_and_other_slots_are_left_alone() {
    require!(Root);
    let host = host();
    let [first, second, other] = [0, 1, 3].map(Slot::numbered);
    set(&host, &[], &objects(other)).unwrap();
    let others = told(&host);
    set(&host, &[], &objects(first)).unwrap();
    set(&host, &objects(first), &objects(second)).unwrap();
    let lines = told(&host);
    assert!(lines.iter().any(|line| line.starts_with("1501:")));
    assert!(!lines.iter().any(|line| line.starts_with("1500:")));
    set(&host, &objects(second), &[]).unwrap();
    assert_eq!(told(&host), others);
}

#[test]
fn what_a_dead_instance_left_in_the_table_is_replaced_and_without_one_is_found_and_removed() {
    require!(Root);
    let host = host();
    let before = Snapshot::take(&host).of_host_only();
    let slot = Slot::numbered(2);
    // In the order in which removing the general rule would take the special one first.
    set(&host, &[], &objects(slot)).unwrap();
    // The next one has the slot, wants less, and knows of no predecessor.
    let less = [route(Family::V4, slot), rule(Family::V4, slot, Some("lo"))];
    set(&host, &[], &less).unwrap();
    let lines = told(&host);
    assert!(
        !lines.iter().any(|l| l.contains("0xf0000000 lookup")),
        "{lines:?}"
    );

    let mut cleaner = RouteDriver::new();
    let found = cleaner.observe(&netns(&host)).unwrap();
    let what: Vec<&str> = found.iter().map(|f| f.what.as_str()).collect();
    assert!(
        what.contains(&"rule ipv4 priority 1502 iif lo fwmark 0xc0000000/0xf0000000 lookup 15003"),
        "{what:?}"
    );
    assert!(what.contains(&"route ipv4 local default dev lo table 15003"));
    assert!(
        found
            .iter()
            .all(|f| f.instance.is_none() && f.domain == Domain::Route)
    );
    for found in &found {
        cleaner.remove(found).unwrap();
        cleaner.remove(found).unwrap();
    }
    assert_eq!(cleaner.observe(&netns(&host)).unwrap(), []);
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn rules_and_routes_of_others_are_not_ours_whatever_they_look_like() {
    require!(Root);
    let host = host();
    let ip = |words: &str| host.ip(&words.split(' ').collect::<Vec<_>>());
    // Another number, or ours with what we do not ask for.
    ip("rule add priority 1500 fwmark 0x80000000/0xf0000000 iif lo lookup 15001 protocol 93");
    ip("rule add priority 1500 fwmark 0x80000000/0xf0000000 lookup 15001 protocol 93");
    ip("rule add priority 7 from 192.0.2.7 lookup 15001 protocol 94");
    ip("route add local 192.0.2.0/24 dev lo table 15001 proto 94");
    ip("route add local default dev lo table 15001 proto 93 metric 7");
    let before = Snapshot::take(&host).of_host_only();
    let mut driver = RouteDriver::new();
    assert_eq!(driver.observe(&netns(&host)).unwrap(), []);
    let slot = Slot::numbered(0);
    let ours = [route(Family::V4, slot), rule(Family::V4, slot, None)];
    set(&host, &[], &ours).unwrap();
    assert_eq!(driver.observe(&netns(&host)).unwrap().len(), 2);
    set(&host, &ours, &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_change_that_fails_half_way_is_undone_and_the_foreign_thing_is_told_of() {
    require!(Root);
    let host = host();
    let slot = Slot::numbered(0);
    let words = "-6 route add local default dev lo table 15001 proto 93";
    host.ip(&words.split(' ').collect::<Vec<_>>());
    let before = Snapshot::take(&host).of_host_only();
    let error = set(&host, &[], &objects(slot)).unwrap_err();
    assert_eq!(error.domain, Domain::Route);
    assert!(
        error.to_string().contains("could not make the route ipv6"),
        "{error}"
    );
    assert!(error.help().contains("another program"), "{}", error.help());
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_loopback_device_that_is_down_is_told_of_and_nothing_changes() {
    require!(Root);
    let host = host();
    host.ip(&["link", "set", "lo", "down"]);
    let before = Snapshot::take(&host).of_host_only();
    let error = set(&host, &[], &objects(Slot::numbered(0))).unwrap_err();
    assert!(
        error.help().contains("ip link set lo up"),
        "{}",
        error.help()
    );
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_namespace_that_is_not_there_is_an_error_of_its_name() {
    let nowhere = Netns::Path("/run/netns/steer-none".to_owned());
    let error = RouteDriver::new().observe(&nowhere).unwrap_err();
    assert!(
        error.to_string().contains("/run/netns/steer-none"),
        "{error}"
    );
}

#[test]
fn several_steerings_have_a_route_to_the_same_network_each_its_own() {
    require!(Root);
    let host = host();
    let net = |family| {
        Object::Route(Route {
            family,
            net: Some(steer_core::object::token_net(family)),
            table: TableRef::Fixed(LOCAL_TABLE),
            to: Leads::Here,
        })
    };
    let routes = Family::ALL.map(net);
    let netns = netns(&host);
    let set = |name: &str, from: &[Object], to: &[Object]| {
        let instance = Instance::new(name).unwrap();
        RouteDriver::new()
            .set(&Change {
                instance: &instance,
                netns: &netns,
                from,
                to,
            })
            .unwrap();
    };
    let count = || {
        let shown = Family::ALL.map(|family| {
            let family = if family == Family::V4 { "-4" } else { "-6" };
            host.ip(&[family, "route", "show", "table", "local", "proto", "94"])
        });
        shown.map(|shown| shown.lines().count())
    };
    let before = Snapshot::take(&host).of_host_only();
    set("one", &[], &routes);
    set("two", &[], &routes);
    set("two", &routes, &routes);
    assert_eq!(count(), [2, 2]);
    set("one", &routes, &[]);
    assert_eq!(count(), [1, 1]);
    let found = RouteDriver::new().observe(&netns).unwrap();
    let told: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "route ipv4 local 127.128.0.0/9 dev lo table 255",
            "route ipv6 local fd5e:7ee2:0:f8e3::/64 dev lo table 255",
        ]
    );
    for found in found {
        RouteDriver::new().remove(&found).unwrap();
    }
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

/// Devices of an instance, which go with their driver.
fn devices(host: &Host) -> DeviceDriver {
    let device = |layer| {
        let main = Instance::new("main").unwrap();
        let address = |ip: &str, prefix| (ip.parse().unwrap(), prefix);
        let addresses = match layer {
            Layer::Ip => vec![
                address("192.0.0.65", 26),
                address("fd5e:7ee2:0:f8e4::1", 64),
            ],
            Layer::Ethernet => vec![
                address("192.0.0.66", 26),
                address("fd5e:7ee2:0:f8e4::2", 64),
            ],
        };
        Object::Device(Device {
            name: Device::name_of(&main, layer),
            layer,
            mtu: 1500,
            addresses,
            queues: 1,
            bridge: None,
            forwards: false,
        })
    };
    let mut driver = DeviceDriver::new();
    driver
        .set(&Change {
            instance: &Instance::new("main").unwrap(),
            netns: &netns(host),
            from: &[],
            to: &[Layer::Ip, Layer::Ethernet].map(device),
        })
        .unwrap();
    driver
}

fn leading(family: Family, net: Option<&str>, to: Leads) -> Object {
    Object::Route(Route {
        family,
        net: net.map(|net| net.parse().unwrap()),
        table: TableRef::Fixed(FIRST_TABLE),
        to,
    })
}

fn by(name: &str, via: Option<&str>) -> Leads {
    Leads::Device {
        name: name.to_owned(),
        via: via.map(|via| via.parse().unwrap()),
    }
}

#[test]
fn routes_lead_to_a_device_and_nowhere_once_it_is_gone() {
    require!(Root);
    let host = host();
    let before = Snapshot::take(&host).of_host_only();
    let devices = devices(&host);
    let nowhere = Family::ALL.map(|family| leading(family, None, Leads::Nowhere));
    let mut all = nowhere.to_vec();
    all.extend([
        leading(Family::V4, None, by("tun-main", None)),
        leading(
            Family::V4,
            Some("198.51.100.0/24"),
            by("tap-main", Some("192.0.0.67")),
        ),
        leading(Family::V6, None, by("tap-main", Some("fe80::1"))),
        leading(Family::V6, Some("2001:db8::/32"), by("tun-main", None)),
    ]);
    set(&host, &[], &all).unwrap();
    let made = told(&host);
    assert_eq!(
        made,
        [
            "15001: default dev tun-main proto 94 scope link",
            "15001: unreachable default proto 94 metric 4000000",
            "15001: 198.51.100.0/24 via 192.0.0.67 dev tap-main proto 94 onlink",
            "15001: 2001:db8::/32 dev tun-main proto 94 metric 1024 pref medium",
            "15001: default via fe80::1 dev tap-main proto 94 metric 1024 onlink pref medium",
            "15001: unreachable default dev lo proto 94 metric 4000000 pref medium",
        ]
    );
    // Twice is once, and each is found as what it is.
    set(&host, &all, &all).unwrap();
    set(&host, &[], &all).unwrap();
    assert_eq!(told(&host), made);
    let mut found = RouteDriver::new().observe(&netns(&host)).unwrap();
    let mut wanted: Vec<String> = all.iter().map(ToString::to_string).collect();
    found.sort_by(|a, b| a.what.cmp(&b.what));
    wanted.sort();
    let what: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
    assert_eq!(what, wanted);

    // What is left of a crash under closed, and what adopting makes of it without the device.
    drop(devices);
    // A program that another test starts has its descriptors until it runs.
    let left = eventually("the devices are gone, and the routes by them", || {
        Some(told(&host)).filter(|left| left.len() == 2)
    });
    let error = set(&host, &all, &all).unwrap_err();
    assert!(error.help().contains("device"), "{}", error.help());
    assert_eq!(told(&host), left);
    for found in found {
        RouteDriver::new().remove(&found).unwrap();
    }
    set(&host, &all, &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_change_from_all_to_the_guard_leaves_the_way_nowhere_and_back_again() {
    require!(Root);
    let host = host();
    let _devices = devices(&host);
    let guard = Family::ALL.map(|family| leading(family, None, Leads::Nowhere));
    let mut all = guard.to_vec();
    all.extend(Family::ALL.map(|family| leading(family, None, by("tun-main", None))));
    set(&host, &[], &all).unwrap();
    let made = told(&host);
    set(&host, &all, &guard).unwrap();
    let left = told(&host);
    assert!(
        left.iter().all(|line| line.contains("unreachable default")),
        "{left:?}"
    );
    assert_eq!(left.len(), 2);
    set(&host, &guard, &all).unwrap();
    assert_eq!(told(&host), made);
}

#[test]
fn what_a_dead_instance_of_another_method_left_in_the_table_makes_way() {
    require!(Root);
    let host = host();
    let _devices = devices(&host);
    let slot = Slot::numbered(0);
    let left = Family::ALL.map(|family| route(family, slot));
    set(&host, &[], &left).unwrap();
    let wanted = Family::ALL.map(|family| leading(family, None, by("tun-main", None)));
    set(&host, &[], &wanted).unwrap();
    let lines = told(&host);
    assert!(
        lines.iter().all(|line| line.contains("dev tun-main")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
    set(&host, &[], &left).unwrap();
    let lines = told(&host);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("local default dev lo")),
        "{lines:?}"
    );
}
