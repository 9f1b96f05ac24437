//! What `tun` and `tap` cannot do is an error of `plan` that names the key and says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use steer_core::host::{Descriptor, Host, Interface, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{
    Backend, Dns, Intent, Link, Loopback, OnFailure, Quic, Scope, Selector, Source,
};
use steer_core::key::Key;
use steer_core::object::{Layer, Object};
use steer_core::ruleset::{Role, Ruleset};
use steer_core::steerer::{PlanError, Steerer};
use steer_tun::{Tap, Tun};

fn command() -> Intent {
    Intent::new(Instance::new("demo").unwrap(), Scope::command())
}

fn of(selector: Selector) -> Intent {
    let scope = Scope {
        of: selector,
        ..Scope::default()
    };
    Intent::new(Instance::new("demo").unwrap(), scope)
}

/// Something that is written beside the rest.
type Change = fn(&mut Intent);

fn with(mut intent: Intent, change: impl FnOnce(&mut Intent)) -> Intent {
    change(&mut intent);
    intent
}

fn given(link: Link) -> Intent {
    with(of(Selector::default()), |intent| intent.link = link)
}

fn by_fd() -> Link {
    Link {
        fd: Some(3),
        ..Link::default()
    }
}

fn bridge() -> Link {
    Link {
        bridge: Some("br0".to_owned()),
        gateway: vec![(IpAddr::from([10, 9, 0, 1]), 24)],
        ..Link::default()
    }
}

fn refused(method: &dyn Steerer, intent: &Intent, host: &Host) -> PlanError {
    let error = method.plan(intent, host).unwrap_err();
    assert!(!error.help().is_empty());
    error
}

#[test]
fn keys_that_no_device_honours_are_named() {
    let inbound = of(Selector {
        inbound: true,
        ..Selector::default()
    });
    let steered = with(command(), |i| i.traffic.loopback = Some(Loopback::Steer));
    let client = with(command(), |i| i.source = Some(Source::Client));
    let port = with(command(), |i| i.listen.dns = Some(15053));
    let bridged = given(bridge());
    for (intent, key) in [
        (inbound, Key::Inbound),
        (steered, Key::LoopbackSteer),
        (client, Key::SourceClient),
        (port, Key::ListenDns),
        (bridged, Key::DeviceBridge),
    ] {
        let error = refused(&Tun, &intent, &Host::example());
        assert!(
            matches!(&error, PlanError::Keys { keys, .. } if keys.contains(&key)),
            "{error}"
        );
    }
}

#[test]
fn what_is_missing_is_told_with_what_would_give_it() {
    let without = |change: fn(&mut Host)| {
        let mut host = Host::example();
        change(&mut host);
        host
    };
    let absent = || Presence::Absent("there is none".to_owned());
    let no_device = without(|host| host.tun = Presence::Absent("there is none".to_owned()));
    let no_privilege = Host {
        net_admin: absent(),
        ..Host::example()
    };
    let unforwarded = without(|host| {
        for interface in &mut host.interfaces {
            interface.forwards.clear();
        }
    });
    let stub = without(|host| host.resolvers = vec!["127.0.0.53".parse().unwrap()]);
    let forwarded = of(Selector {
        interface: vec!["eth1".to_owned()],
        ..Selector::default()
    });
    let capture = with(command(), |i| i.traffic.dns = Some(Dns::Capture));
    for (intent, host, what, remedy) in [
        (command(), no_device, "/dev/net/tun", "mknod /dev/net/tun"),
        (command(), no_privilege, "CAP_NET_ADMIN", "sudo"),
        (
            forwarded,
            unforwarded,
            "forwarding at eth1",
            "sysctl net.ipv4.conf.eth1.forwarding=1",
        ),
        (capture, stub, "127.0.0.53", "/etc/resolv.conf"),
        (
            given(bridge()),
            Host::example(),
            "the bridge br0",
            "ip link add br0 type bridge",
        ),
        (
            given(Link {
                bridge: Some("eth0".to_owned()),
                ..bridge()
            }),
            Host::example(),
            "that interface is none",
            "type bridge",
        ),
    ] {
        let error = refused(&Tap, &intent, &host);
        assert!(matches!(error, PlanError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.help().contains(remedy), "{}", error.help());
    }
}

#[test]
fn a_descriptor_of_something_else_is_refused_before_anything_is_done() {
    let with = |descriptor: Descriptor| Host {
        descriptors: [(3, descriptor)].into(),
        ..Host::example()
    };
    let tap = with(Descriptor::Device {
        name: "theirs".to_owned(),
        layer: Layer::Ethernet,
    });
    let file = with(Descriptor::Other("it is of something else".to_owned()));
    for (host, what, remedy) in [
        (tap, "theirs is a tap device", "choose `-m tap`"),
        (file, "it is of something else", "TUNSETIFF"),
    ] {
        let error = refused(&Tun, &given(by_fd()), &host);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.help().contains(remedy), "{}", error.help());
    }
}

#[test]
fn what_comes_by_a_device_of_others_is_all_meant_and_nothing_chooses_among_it() {
    let choices: [(Key, Change); 8] = [
        (Key::Host, |i| i.scope.of.host = true),
        (Key::Command, |i| i.scope.command = true),
        (Key::Ports, |i| {
            i.traffic.include.ports = vec!["443".parse().unwrap()];
        }),
        (Key::Cidrs, |i| {
            i.traffic.exclude.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        }),
        (Key::DnsLeave, |i| i.traffic.dns = Some(Dns::Leave)),
        (Key::QuicReject, |i| i.traffic.quic = Some(Quic::Reject)),
        (Key::Open, |i| i.on_failure = Some(OnFailure::Open)),
        (Key::Backend, |i| i.backend = Some(Backend::Nft)),
    ];
    for (key, choose) in choices {
        let intent = with(given(by_fd()), choose);
        let error = refused(&Tun, &intent, &Host::example());
        assert!(
            matches!(&error, PlanError::Together { keys, .. } if *keys == [key, Key::DeviceFd]),
            "{error}"
        );
    }
    let closed = with(given(by_fd()), |i| i.on_failure = Some(OnFailure::Closed));
    Tun.plan(&closed, &Host::example()).unwrap();
    let inside = with(given(by_fd()), |i| {
        i.scope.of.netns = Some("web".to_owned())
    });
    let plan = Tun.plan(&inside, &Host::example()).unwrap();
    assert!(
        plan.to_string()
            .contains("[/run/netns/web] device tun-demo")
    );
}

#[test]
fn stations_and_the_gateway_that_they_ask_come_together() {
    let host = with_bridge();
    let nowhere = given(Link {
        gateway: Vec::new(),
        ..bridge()
    });
    let error = refused(&Tap, &nowhere, &host);
    assert_eq!(
        error.to_string(),
        "device.bridge needs `device.gateway`, the address of the engine for its stations,"
    );
    let alone = with(command(), |i| i.link.gateway = bridge().gateway);
    let error = refused(&Tap, &alone, &host);
    assert!(
        matches!(
            error,
            PlanError::Without {
                key: Key::DeviceGateway,
                ..
            }
        ),
        "{error}"
    );
    let both = given(Link {
        fd: Some(3),
        ..bridge()
    });
    let error = refused(&Tap, &both, &host);
    assert!(matches!(error, PlanError::Together { .. }), "{error}");
}

#[test]
fn without_a_scope_nothing_is_meant_unless_a_device_says_what_is() {
    let nobody = of(Selector::default());
    assert_eq!(
        refused(&Tun, &nobody, &Host::example()),
        PlanError::EmptyScope
    );
    Tun.plan(&given(by_fd()), &Host::example()).unwrap();
}

#[test]
fn a_draining_plan_keeps_its_device_and_what_knows_flows_that_were_taken() {
    let plan = Tun.plan(&command(), &Host::example()).unwrap();
    let objects = || plan.objects.iter().map(|planned| &planned.object);
    for object in objects() {
        if let Object::Device(_) | Object::Route(_) | Object::Rule(_) = object {
            assert_eq!(object, &object.retired());
        }
    }
    let steer = objects()
        .find_map(|object| match object.retired() {
            Object::Nft(rules) if rules.role == Role::Steer => Some(rules),
            _ => None,
        })
        .unwrap();
    let Ruleset { chains, .. } = &steer;
    let entry = chains.iter().find(|chain| chain.name == "entry").unwrap();
    let left = entry.rules.iter().map(|rule| rule.why.as_str());
    assert_eq!(
        left.collect::<Vec<_>>(),
        [
            "the engine's own connections",
            "packets of connections that were taken"
        ]
    );
}

#[test]
fn a_host_that_would_take_the_engine_for_its_own_router_is_told_before() {
    let mut host = with_bridge();
    let advertised = given(Link {
        gateway: vec![("fd00:9::1".parse().unwrap(), 64)],
        advertise: true,
        ..bridge()
    });
    Tap.plan(&advertised, &host).unwrap();
    for interface in &mut host.interfaces {
        interface.takes_advertisements = interface.bridge;
    }
    let error = refused(&Tap, &advertised, &host);
    let help = error.help();
    assert!(
        help.contains("`sysctl -w net.ipv6.conf.br0.accept_ra=0`"),
        "{error}: {help}"
    );
    // What is not said to all is not said to this host.
    Tap.plan(&given(bridge()), &host).unwrap();
}

fn with_bridge() -> Host {
    let mut host = Host::example();
    host.interfaces.push(Interface {
        name: "br0".to_owned(),
        forwards: Vec::new(),
        src_valid_mark: false,
        bridge: true,
        takes_advertisements: false,
    });
    host
}
