//! What has no plan.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::Protocol;
use steer_core::host::{Host, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{Dns, Intent, Scope, Selector, Source};
use steer_core::object::{Hooks, Object, Reach};
use steer_core::steerer::{PlanError, Steerer};
use steer_ebpf::Ebpf;

fn intent(scope: Scope) -> Intent {
    Intent::new(Instance::new("demo").unwrap(), scope)
}

fn of(of: Selector) -> Intent {
    intent(Scope {
        of,
        ..Scope::default()
    })
}

fn whole_host() -> Intent {
    of(Selector {
        host: true,
        ..Selector::default()
    })
}

/// It is refused with an error that holds the words.
fn refuses(intent: &Intent, host: &Host, words: &[&str]) {
    let error = Ebpf.plan(intent, host).unwrap_err();
    let said = format!("{error}\n{}", error.help());
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn hooks(intent: &Intent) -> Hooks {
    let plan = Ebpf.plan(intent, &Host::example()).unwrap();
    let mut objects = plan.objects.into_iter();
    let hooks = objects.find_map(|planned| match planned.object {
        Object::Hooks(hooks) => Some(hooks),
        _ => None,
    });
    hooks.unwrap()
}

#[test]
fn keys_that_it_has_no_way_for_are_named() {
    let mut wish = whole_host();
    wish.source = Some(Source::Client);
    wish.scope.of.interface = vec!["eth1".into()];
    refuses(
        &wish,
        &Host::example(),
        &["cannot honour scope.interface, source: client"],
    );
    let empty = intent(Scope::default());
    let error = Ebpf.plan(&empty, &Host::example()).unwrap_err();
    assert_eq!(error, PlanError::EmptyScope);
}

#[test]
fn another_proxy_must_be_left_out_of_the_scope_and_is_given_tcp() {
    let host = Host::example();
    let mut external = whole_host();
    external.listen.external = Some("127.0.0.1:15001".parse().unwrap());
    refuses(&external, &host, &["listen.external needs `scope.except`"]);
    external.scope.except.uid = vec!["1337".parse().unwrap()];
    assert_eq!(hooks(&external).entrances.len(), 1);
    external.traffic.include.protocols = vec![Protocol::Udp];
    refuses(&external, &host, &["listen.external", "protocols: udp"]);
    external.traffic.include.protocols.clear();
    external.traffic.dns = Some(Dns::Capture);
    refuses(&external, &host, &["traffic.dns: capture, listen.external"]);
}

#[test]
fn what_comes_in_has_no_sender_and_no_network() {
    let host = Host::example();
    let inbound = || {
        of(Selector {
            inbound: true,
            ..Selector::default()
        })
    };
    let mut sent = inbound();
    sent.scope.of.uid = vec!["5".parse().unwrap()];
    refuses(&sent, &host, &["scope.uid, scope.inbound"]);
    let mut network = inbound();
    network.traffic.exclude.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    refuses(&network, &host, &["scope.inbound, traffic cidrs"]);
}

#[test]
fn a_longer_list_than_there_is_room_for_is_an_error() {
    let mut many = whole_host();
    many.scope.except.uid = (0..17).map(|id| format!("{id}").parse().unwrap()).collect();
    refuses(&many, &Host::example(), &["17 entries", "room for 16"]);
}

#[test]
fn a_host_that_lacks_something_gets_the_remedy() {
    let old = Host {
        kernel: "5.19.0-50-generic".to_owned(),
        ..Host::example()
    };
    refuses(&whole_host(), &old, &["Linux 6.1", "5.19.0", "tproxy"]);
    let bare = Host {
        bpf: Presence::Absent("uid 1000 has no capability".into()),
        ..Host::example()
    };
    refuses(&whole_host(), &bare, &["CAP_BPF", "sudo"]);
    let gone = of(Selector {
        pid: vec![77],
        ..Selector::default()
    });
    refuses(&gone, &Host::example(), &["process 77", "pgrep"]);
}

#[test]
fn only_cgroups_are_followed_into_other_namespaces() {
    assert_eq!(hooks(&intent(Scope::command())).reach, Reach::All);
    assert_eq!(hooks(&whole_host()).reach, Reach::Here);
    let unit = of(Selector {
        cgroup: vec!["system.slice".into()],
        ..Selector::default()
    });
    assert_eq!(hooks(&unit).reach, Reach::All);
}
