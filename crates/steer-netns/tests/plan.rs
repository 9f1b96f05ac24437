//! What the method can and cannot promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::{Cidr, Family, PortRange, Protocol};
use steer_core::host::{Host, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{Backend, Dial, Intent, OnFailure, Publish, Relay, Scope, Selector};
use steer_core::key::Key;
use steer_core::object::{Binding, Object};
use steer_core::plan::{Netns as Place, Plan};
use steer_core::ruleset::{Test, Verdict};
use steer_core::steerer::{PlanError, Steerer};
use steer_netns::Netns;

fn command() -> Intent {
    Intent::new(Instance::new("demo").unwrap(), Scope::command())
}

fn plan(intent: &Intent) -> Plan {
    Netns.plan(intent, &Host::example()).unwrap()
}

/// The keys that are refused.
fn refused(change: impl FnOnce(&mut Intent)) -> Vec<Key> {
    let mut intent = command();
    change(&mut intent);
    match Netns.plan(&intent, &Host::example()) {
        Err(PlanError::Keys { keys, .. }) => keys,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_can_be_left_out() {
    let ports = vec![PortRange::one(22).unwrap()];
    let net: Cidr = "10.0.0.0/8".parse().unwrap();
    let name = || vec!["a.example".parse().unwrap()];
    assert_eq!(refused(|i| i.traffic.exclude.ports = ports), [Key::Ports]);
    assert_eq!(
        refused(|i| i.traffic.include.cidrs = vec![net]),
        [Key::Cidrs]
    );
    assert_eq!(
        refused(|i| i.traffic.exclude.domains = name()),
        [Key::ExcludeDomains]
    );
    assert_eq!(
        refused(|i| i.traffic.include.domains = name()),
        [Key::IncludeDomains]
    );
    assert_eq!(
        refused(|i| i.on_failure = Some(OnFailure::Open)),
        [Key::Open]
    );
    assert_eq!(
        refused(|i| i.relay = Some(Relay::Needed)),
        [Key::RelayNeeded]
    );
    for (protocol, key) in [(Protocol::Tcp, Key::Tcp), (Protocol::Udp, Key::Udp)] {
        assert_eq!(
            refused(|i| i.traffic.include.protocols = vec![protocol]),
            [key]
        );
    }
    let mut both = command();
    both.traffic.include.protocols = Protocol::ALL.to_vec();
    assert_eq!(plan(&both), plan(&command()));
}

#[test]
fn commands_are_steered_and_nobody_else() {
    let of = Selector {
        host: true,
        ..Selector::default()
    };
    assert_eq!(
        refused(|i| i.scope = Scope {
            of,
            ..Scope::default()
        }),
        [Key::Host]
    );
    let nobody = Netns.plan(
        &Intent::new(Instance::new("demo").unwrap(), Scope::default()),
        &Host::example(),
    );
    assert_eq!(nobody, Err(PlanError::EmptyScope));
}

#[test]
fn the_packet_filter_is_that_of_the_kernel_itself() {
    for backend in [Backend::Iptables, Backend::IptablesLegacy] {
        assert_eq!(refused(|i| i.backend = Some(backend)), [Key::Backend]);
    }
    let mut intent = command();
    intent.backend = Some(Backend::Nft);
    assert_eq!(plan(&intent), plan(&command()));
}

#[test]
fn a_host_that_forbids_user_namespaces_is_told_what_to_allow() {
    let host = Host {
        user_namespaces: Presence::Absent("user.max_user_namespaces is 0".to_owned()),
        ..Host::example()
    };
    let error = Netns.plan(&command(), &host).unwrap_err();
    assert!(
        error.to_string().contains("max_user_namespaces is 0"),
        "{error}"
    );
    assert!(error.help().contains("sysctl"), "{}", error.help());
    // Who may not ask is not refused: it is tried.
    let unknown = Host {
        user_namespaces: Presence::Unknown("not asked".to_owned()),
        ..Host::example()
    };
    assert!(Netns.plan(&command(), &unknown).is_ok());
}

#[test]
fn everything_is_inside_but_what_is_published() {
    let mut intent = command();
    intent.confine.publish = vec![
        "8080".parse::<Publish>().unwrap(),
        "0.0.0.0:8080:80".parse().unwrap(),
    ];
    let plan = plan(&intent);
    assert!(!plan.changes_the_host());
    assert!(!plan.wants_slot(), "marks inside are nobody else's");
    let mut ids = Vec::new();
    for planned in &plan.objects {
        match &planned.object {
            Object::Listener(listener) => {
                let published = listener.binding == Binding::Own;
                let (place, dial) = match published {
                    true => (Place::Here, Dial::Inside),
                    false => (Place::New, Dial::Outside),
                };
                assert_eq!(planned.netns, place, "{listener}");
                assert_eq!(Netns.dials(listener), dial, "{listener}");
                ids.push(listener.id.clone());
            }
            Object::Nft(_) => assert_eq!(planned.netns, Place::New),
            _ => assert_eq!(planned.netns, Place::Here),
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    assert_eq!(count, 4);
}

/// The tests of the rules that hand packets over.
fn handed_over(plan: &Plan) -> Vec<Vec<Test>> {
    let rulesets = plan.objects.iter().filter_map(|p| match &p.object {
        Object::Nft(rules) => Some(rules),
        _ => None,
    });
    let rules = rulesets
        .flat_map(|rules| &rules.chains)
        .flat_map(|chain| &chain.rules);
    rules
        .filter(|rule| matches!(rule.verdict, Verdict::Tproxy { .. }))
        .map(|rule| rule.tests.clone())
        .collect()
}

#[test]
fn resolvers_on_loopback_are_caught_and_no_others_there() {
    for (resolvers, wanted) in [
        (vec!["192.0.2.53"], 0),
        (vec!["192.0.2.53", "127.0.0.53", "::1"], 4),
        // The C library then asks 127.0.0.1.
        (vec![], 4),
    ] {
        let host = Host {
            resolvers: resolvers.iter().map(|ip| ip.parse().unwrap()).collect(),
            ..Host::example()
        };
        let plan = Netns.plan(&command(), &host).unwrap();
        let dns = PortRange::one(53).unwrap();
        let of_resolvers = handed_over(&plan)
            .into_iter()
            .filter(|tests| tests.contains(&Test::ToPort(vec![dns])));
        assert_eq!(of_resolvers.count(), wanted, "{resolvers:?}");
    }
}

#[test]
fn a_host_without_ipv6_has_no_such_rules_nor_addresses() {
    let host = Host {
        families: vec![Family::V4],
        ..Host::example()
    };
    let plan = Netns.plan(&command(), &host).unwrap();
    let namespace = plan.namespace().unwrap();
    assert!(namespace.addresses.iter().all(|ip| ip.is_ipv4()));
    let inside = plan.objects.iter().map(ToString::to_string);
    let inside: Vec<String> = inside.filter(|object| object.contains("::1")).collect();
    assert!(inside.is_empty(), "{inside:?}");
}
