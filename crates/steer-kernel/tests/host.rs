//! The facts of a namespace that is not ours.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use lab::{Container, Host, Lab, require};
use steer_core::address::Family;
use steer_core::host::{MarkBits, Namespace, Neighbour};
use steer_core::instance::Instance;
use steer_core::intent::{Intent, Scope};
use steer_kernel::host::{observe, observe_for};

fn intent(host: &Host) -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
    intent.scope.of.netns = Some(host.namespace_name().to_owned());
    intent
}

#[test]
fn what_belongs_to_a_namespace_is_asked_inside_the_one_that_is_steered() {
    require!(Root);
    let lab = Lab::new("facts");
    let (router, peer) = (lab.router("router"), lab.host("peer"));
    let (uplink, _) = lab.link(&router, &peer);
    let quiet = format!("net/ipv4/conf/{}/src_valid_mark", uplink.name);
    for (setting, value) in [(quiet.as_str(), "1"), ("net/ipv4/conf/lo/forwarding", "0")] {
        router.set_sysctl(setting, value);
    }
    let here = observe();
    let host = observe_for(&intent(&router));
    let path = router.namespace_path().display().to_string();
    let at = host.netns.get(router.namespace_name());
    assert_eq!(at, Some(&Namespace::At(path)));
    let interface = |name: &str| host.interfaces.iter().find(|i| i.name == name).unwrap();
    assert_eq!(interface(&uplink.name).forwards, Family::ALL);
    assert!(interface(&uplink.name).src_valid_mark);
    assert_eq!(interface("lo").forwards, [Family::V6]);
    assert!(!interface("lo").src_valid_mark);
    assert_ne!(here.interfaces, host.interfaces);
    assert_eq!((&host.kernel, &host.users), (&here.kernel, &here.users));

    router.set_sysctl("net/ipv4/conf/all/src_valid_mark", "1");
    let host = observe_for(&intent(&router));
    assert!(host.interfaces.iter().all(|i| i.src_valid_mark));
}

#[test]
fn rules_of_others_and_their_marks_are_named_and_ours_are_not() {
    require!(Root);
    let app = Lab::new("facts").host("app");
    let ip = |words: &str| app.ip(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(observe_for(&intent(&app)).neighbours, []);
    ip("rule add priority 5210 fwmark 0x80000/0xff0000 lookup main");
    ip("-6 rule add priority 1500 from 2001:db8::/32 iif lo lookup 52");
    ip("rule add priority 1500 fwmark 0x80000000/0xf0000000 iif lo lookup 15001 protocol 94");
    let rule = |family, priority, by: &str| Neighbour::Rule {
        family,
        priority,
        by: by.to_owned(),
    };
    assert_eq!(
        observe_for(&intent(&app)).neighbours,
        [
            Neighbour::Mark {
                mark: MarkBits {
                    value: 0x8_0000,
                    mask: 0xff_0000
                },
                usage: steer_core::host::MarkUse::Tested,
                by: "ip rule 5210".to_owned(),
            },
            rule(
                Family::V4,
                5210,
                "5210: from all fwmark 0x80000/0xff0000 lookup main"
            ),
            rule(
                Family::V6,
                1500,
                "1500: from 2001:db8::/32 iif lo lookup 52"
            ),
        ]
    );
}

#[test]
fn a_namespace_of_a_scope_s_exception_is_found_too_and_facts_are_those_from_here() {
    require!(Root);
    let app = Lab::new("facts").host("app");
    let mut intent = intent(&app);
    std::mem::swap(&mut intent.scope.of, &mut intent.scope.except);
    let host = observe_for(&intent);
    assert!(matches!(
        host.netns.get(app.namespace_name()),
        Some(Namespace::At(_))
    ));
    assert_eq!(host.interfaces, observe().interfaces);
}

#[test]
fn a_container_is_found_by_its_id_whichever_engine_runs_it() {
    require!(Root, Program("podman"), Program("runc"), Program("busybox"));
    let app = Lab::new("facts").host("app");
    // Of an engine whose store nobody else knows: only its cgroup tells of it.
    let container = Container::start(&app, "facts");
    let mut intent = intent(&app);
    for id in [container.id(), &container.id()[..12]] {
        intent.scope.of.netns = Some(id.to_owned());
        let host = observe_for(&intent);
        let path = format!("/proc/{}/ns/net", container.pid());
        assert_eq!(host.netns.get(id), Some(&Namespace::At(path)));
    }
}
