//! Without privilege the device of `tun` is in namespaces of the command's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use steer_core::address::Protocol;
use steer_core::host::{Host, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{Dns, Echo, Intent, OnFailure, Quic, Scope, Selector};
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::steerer::{PlanError, Steerer};
use steer_tun::{Tap, Tun};

/// A host of a user without privilege.
fn user() -> Host {
    Host {
        uid: 1000,
        net_admin: Presence::Absent("not among this process's capabilities".to_owned()),
        ..Host::example()
    }
}

fn command() -> Intent {
    Intent::new(Instance::new("demo").unwrap(), Scope::command())
}

fn with(change: impl FnOnce(&mut Intent)) -> Intent {
    let mut intent = command();
    change(&mut intent);
    intent
}

/// What the error says is missing, and its help.
fn missing(method: &dyn Steerer, intent: &Intent, host: &Host) -> (String, String) {
    let error = method.plan(intent, host).unwrap_err();
    assert!(matches!(error, PlanError::Missing { .. }), "{error}");
    (error.to_string(), error.help())
}

#[test]
fn a_command_of_a_user_has_a_device_and_no_rule() {
    let plan = Tun.plan(&command(), &user()).unwrap();
    assert!(!plan.changes_the_host() && !plan.wants_slot());
    assert!(plan.namespace().is_some());
    for planned in &plan.objects {
        let inside = matches!(
            planned.object,
            Object::Listener(_) | Object::Device(_) | Object::Route(_)
        );
        assert_eq!(planned.netns == Netns::New, inside, "{planned}");
        let rules = matches!(planned.object, Object::Nft(_) | Object::Iptables(..));
        assert!(!rules, "{planned}");
    }
    let shown = plan.to_string();
    for line in [
        "[inside] route ipv4 default dev tun-demo table 254",
        "[inside] route ipv6 default dev tun-demo table 254",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn whoever_may_change_the_network_gets_a_device_of_the_host() {
    let plan = Tun.plan(&command(), &Host::example()).unwrap();
    assert!(plan.namespace().is_none() && plan.changes_the_host());
}

#[test]
fn more_than_a_command_and_a_link_layer_need_the_privilege() {
    let of = Selector {
        host: true,
        ..Selector::default()
    };
    let host = with(|intent| {
        intent.scope = Scope {
            of,
            ..Scope::default()
        };
    });
    for (method, intent) in [(&Tun as &dyn Steerer, host), (&Tap, command())] {
        let (what, _) = missing(method, &intent, &user());
        assert!(what.contains("CAP_NET_ADMIN"), "{what}");
    }
}

#[test]
fn what_leaves_something_out_needs_the_privilege_and_is_named() {
    for (intent, key) in [
        (
            with(|i| i.traffic.exclude.cidrs = vec!["203.0.113.0/24".parse().unwrap()]),
            "cidrs",
        ),
        (
            with(|i| i.traffic.include.protocols = vec![Protocol::Tcp]),
            "tcp",
        ),
        (with(|i| i.traffic.quic = Some(Quic::Reject)), "quic"),
        (with(|i| i.on_failure = Some(OnFailure::Open)), "on_failure"),
        (with(|i| i.link.echo = Some(Echo::Forward)), "device.echo"),
    ] {
        let (what, help) = missing(&Tun, &intent, &user());
        assert!(what.contains("CAP_NET_ADMIN, for"), "{what}");
        assert!(what.to_lowercase().contains(key), "{key}: {what}");
        assert!(help.contains("sudo") && help.contains("-m netns"), "{help}");
    }
    for intent in [
        with(|i| i.traffic.include.protocols = Protocol::ALL.to_vec()),
        with(|i| i.traffic.dns = Some(Dns::Capture)),
        with(|i| i.on_failure = Some(OnFailure::Closed)),
        with(|i| i.link.echo = Some(Echo::Answer)),
        with(|i| i.link.mtu = Some(9000)),
    ] {
        assert!(Tun.plan(&intent, &user()).is_ok(), "{intent:?}");
    }
}

#[test]
fn what_the_host_lacks_is_told_with_a_method_that_does_without() {
    let lacking = || Presence::Absent("there is none".to_owned());
    let no_device = Host {
        tun: lacking(),
        ..user()
    };
    let (_, help) = missing(&Tun, &command(), &no_device);
    assert!(help.contains("chmod a+rw /dev/net/tun"), "{help}");
    assert!(help.contains("-m netns"), "{help}");
    let no_namespaces = Host {
        user_namespaces: lacking(),
        ..user()
    };
    let (_, help) = missing(&Tun, &command(), &no_namespaces);
    assert!(help.contains("-m seccomp"), "{help}");
}

#[test]
fn a_resolver_at_loopback_is_none_that_the_command_reaches() {
    let told = |resolvers: Vec<IpAddr>| Host {
        resolvers,
        ..user()
    };
    let leaving = with(|intent| intent.traffic.dns = Some(Dns::Leave));
    for host in [told(vec!["127.0.0.53".parse().unwrap()]), told(Vec::new())] {
        let (what, help) = missing(&Tun, &command(), &host);
        assert!(what.contains("a resolver outside this host"), "{what}");
        assert!(help.contains("-m netns"), "{help}");
        assert!(Tun.plan(&leaving, &host).is_ok());
    }
}
