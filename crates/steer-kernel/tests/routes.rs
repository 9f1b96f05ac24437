//! The driver of routes and policy rules against the kernel.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use lab::{Host, Lab, Snapshot, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::{Domain, LOCAL_TABLE, Leads, Object, PolicyRule, Route};
use steer_core::plan::Netns;
use steer_core::symbol::{FIRST_TABLE, MarkRef, Slot, TableRef};
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
