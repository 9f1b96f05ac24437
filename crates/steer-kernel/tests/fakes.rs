//! The set of drivers over a host in memory: any change can be undone, and a failure changes
//! nothing.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use proptest::prelude::*;
use steer_core::address::Family;
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::{
    Device, Domain, IptablesVariant, Layer, Leads, Object, PolicyRule, Route,
};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{Chain, Role, Ruleset};
use steer_core::symbol::{CgroupRef, MarkRef, Slot, TableRef};
use steer_kernel::fake::FakeHost;

fn main() -> Instance {
    Instance::new("main").expect("a valid name")
}

fn rules(role: Role, chain: &str) -> Ruleset {
    Ruleset {
        role,
        families: Family::ALL.to_vec(),
        chains: vec![Chain {
            name: chain.to_owned(),
            base: None,
            rules: Vec::new(),
        }],
    }
}

fn device(name: &str, mtu: u32) -> Object {
    Object::Device(Device {
        name: name.to_owned(),
        layer: Layer::Ip,
        mtu,
        addresses: Vec::new(),
        queues: 1,
        bridge: None,
        forwards: false,
    })
}

fn by_device(family: Family, name: &str) -> Object {
    Object::Route(Route {
        family,
        net: None,
        table: TableRef::Fixed(Slot::numbered(0).table()),
        to: Leads::Device {
            name: name.to_owned(),
            via: None,
        },
    })
}

/// A device with routes to it and the way nowhere behind them.
fn path() -> impl Strategy<Value = Vec<(Life, Object)>> {
    let family = prop::sample::select(Family::ALL.to_vec());
    ("[ab]", family, any::<bool>(), any::<bool>()).prop_map(|(name, family, route, closed)| {
        let mut all = vec![(Life::Steer, device(&name, 1500))];
        if route {
            all.push((Life::Steer, by_device(family, &name)));
        }
        if closed {
            let nowhere = Route {
                family,
                net: None,
                table: TableRef::Fixed(Slot::numbered(0).table()),
                to: Leads::Nowhere,
            };
            all.push((Life::Guard, Object::Route(nowhere)));
        }
        all
    })
}

fn object() -> impl Strategy<Value = (Life, Object)> {
    let role = prop_oneof![
        Just((Life::Guard, Role::Guard)),
        Just((Life::Steer, Role::Steer))
    ];
    let variant = prop_oneof![Just(IptablesVariant::Nft), Just(IptablesVariant::Legacy)];
    let slot = (0..Mark::SLOTS).prop_map(Slot::numbered);
    let family = prop::sample::select(Family::ALL.to_vec());
    let interface = prop::sample::select(vec![None, Some("lo".to_owned())]);
    prop_oneof![
        (family.clone(), slot.clone()).prop_map(|(family, slot)| {
            let table = TableRef::Fixed(slot.table());
            (
                Life::Support,
                Object::Route(Route {
                    family,
                    net: None,
                    table,
                    to: Leads::Here,
                }),
            )
        }),
        (family, slot, interface).prop_map(|(family, slot, interface)| {
            let rule = PolicyRule {
                family,
                mark: MarkRef::Fixed(slot.mark),
                interface,
                table: TableRef::Fixed(slot.table()),
            };
            (Life::Support, Object::Rule(rule))
        }),
        "[ab]{1,2}".prop_map(|path| (Life::Support, Object::Cgroup(CgroupRef::Path(path)))),
        (role.clone(), "[a-c]").prop_map(|((life, role), c)| (life, Object::Nft(rules(role, &c)))),
        (role, "[a-c]", variant)
            .prop_map(|((life, role), c, v)| (life, Object::Iptables(rules(role, &c), v))),
    ]
}

/// A plan: distinct objects in up to two namespaces, in the order of lives.
fn plan() -> impl Strategy<Value = Vec<Planned>> {
    let netns = prop_oneof![
        Just(Netns::Here),
        Just(Netns::Path("/run/netns/x".to_owned()))
    ];
    let objects = prop_oneof![3 => object().prop_map(|one| vec![one]), 1 => path()];
    let planned = (netns, objects).prop_map(|(netns, objects)| {
        let planned = |(life, object)| Planned {
            netns: netns.clone(),
            life,
            object,
        };
        objects.into_iter().map(planned).collect::<Vec<_>>()
    });
    prop::collection::vec(planned, 0..8).prop_map(|list| {
        let mut plan: Vec<Planned> = Vec::new();
        for planned in list.into_iter().flatten() {
            if !plan.contains(&planned) {
                plan.push(planned);
            }
        }
        plan.sort_by_key(|planned| planned.life);
        plan
    })
}

/// A host with a neighbour and an instance of ours that the test does not touch.
fn host() -> FakeHost {
    let host = FakeHost::new();
    host.add_foreign(Netns::Here, Domain::Nft, "fw4");
    let other = Instance::new("other").expect("a valid name");
    let mut drivers = host.drivers();
    let standing = [Planned {
        netns: Netns::Here,
        life: Life::Guard,
        object: Object::Nft(rules(Role::Guard, "other")),
    }];
    drivers
        .set_all(&other, &[], &standing)
        .expect("nothing is in the way");
    host
}

proptest! {
    #[test]
    fn a_change_and_its_inverse_are_the_identity(one in plan(), two in plan()) {
        let host = host();
        let nothing = host.state();
        let mut drivers = host.drivers();
        drivers.set_all(&main(), &[], &one).unwrap();
        let first = host.state();
        drivers.set_all(&main(), &one, &two).unwrap();
        drivers.set_all(&main(), &two, &one).unwrap();
        prop_assert_eq!(sorted(&host), sorted_state(first));
        drivers.set_all(&main(), &one, &[]).unwrap();
        prop_assert_eq!(host.state(), nothing);
    }

    #[test]
    fn a_change_twice_is_the_change_once(one in plan(), two in plan()) {
        let host = host();
        let mut drivers = host.drivers();
        drivers.set_all(&main(), &[], &one).unwrap();
        drivers.set_all(&main(), &one, &two).unwrap();
        let once = host.state();
        drivers.set_all(&main(), &one, &two).unwrap();
        prop_assert_eq!(host.state(), once);
    }

    #[test]
    fn a_failure_at_any_step_changes_nothing(one in plan(), two in plan()) {
        let host = host();
        let mut drivers = host.drivers();
        drivers.set_all(&main(), &[], &one).unwrap();
        let before = sorted(&host);
        for step in 0.. {
            host.fail_at([step]);
            match drivers.set_all(&main(), &one, &two) {
                Ok(()) => break,
                Err(error) => {
                    prop_assert!(error.to_string().contains("was told to fail"));
                    prop_assert_eq!(sorted(&host), before.clone());
                }
            }
        }
    }
}

/// What stands, in an order that does not tell which was made first.
fn sorted(host: &FakeHost) -> Vec<String> {
    sorted_state(host.state())
}

fn sorted_state(state: steer_kernel::fake::FakeState) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (place, objects) in state.ours {
        lines.extend(objects.iter().map(|object| format!("{place:?} {object:?}")));
    }
    lines.sort();
    lines
}

fn steering() -> Vec<Planned> {
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object,
    };
    vec![
        planned(
            Life::Support,
            Object::Cgroup(CgroupRef::Path("steer-main".to_owned())),
        ),
        planned(Life::Guard, Object::Nft(rules(Role::Guard, "guard"))),
        planned(Life::Steer, Object::Nft(rules(Role::Steer, "out"))),
    ]
}

#[test]
fn a_name_that_another_program_uses_is_refused_and_nothing_changes() {
    let host = FakeHost::new();
    host.add_foreign(Netns::Here, Domain::Nft, "steer_main");
    let before = host.state();
    let error = host
        .drivers()
        .set_all(&main(), &[], &steering())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("steer_main belongs to another program"),
        "{error}"
    );
    assert_eq!(host.state(), before);
}

#[test]
fn an_undoing_that_fails_too_is_told_with_the_failure() {
    let host = FakeHost::new();
    let mut drivers = host.drivers();
    // The nft step fails, then taking the cgroup back.
    host.fail_at([1, 2]);
    let error = drivers.set_all(&main(), &[], &steering()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("set nft main 0->2; and what was done before it stays"),
        "{text}"
    );
    assert!(error.help().contains("steer clean"), "{}", error.help());
    assert_eq!(
        host.operations(),
        [
            "set cgroup main 0->1",
            "set nft main 0->2",
            "set cgroup main 1->0"
        ]
    );
}

#[test]
fn a_crash_leaves_the_guard_which_is_found_and_removed() {
    let host = FakeHost::new();
    let mut crashed = host.drivers();
    crashed.set_all(&main(), &[], &steering()).unwrap();
    drop(crashed);
    let mut drivers = host.drivers();
    let (found, errors) = drivers.observe(&Netns::Here);
    assert!(errors.is_empty());
    let what: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
    assert_eq!(what, ["cgroup steer-main", "nft steer_main_guard"]);
    for found in &found {
        drivers.remove(found).unwrap();
    }
    assert_eq!(host.state(), FakeHost::new().state());
}

#[test]
fn a_crash_takes_the_device_and_its_routes_and_leaves_the_way_nowhere() {
    let nowhere = |family| {
        Object::Route(Route {
            family,
            net: None,
            table: TableRef::Fixed(Slot::numbered(0).table()),
            to: Leads::Nowhere,
        })
    };
    let planned = |life, object| Planned {
        netns: Netns::Here,
        life,
        object,
    };
    let plan = [
        planned(Life::Guard, nowhere(Family::V4)),
        planned(Life::Steer, by_device(Family::V4, "tun-main")),
        planned(Life::Steer, device("tun-main", 1500)),
    ];
    let host = FakeHost::new();
    let mut crashed = host.drivers();
    crashed.set_all(&main(), &[], &plan).unwrap();
    assert_eq!(sorted(&host).len(), 3);
    drop(crashed);
    let left = host.state().ours.into_values().flatten();
    assert_eq!(left.collect::<Vec<_>>(), [nowhere(Family::V4)]);
}
