//! The text of `steer plan` for each case and method, held against a file.
//!
//! `STEER_BLESS=1 cargo test -p steer-tun --test golden` writes the files anew; read the difference
//! before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::{Family, Protocol};
use steer_core::host::{Descriptor, Host, Interface, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{
    Backend, Dns, Echo, FakeIp, Intent, Link, OnFailure, Quic, Scope, Selector,
};
use steer_core::object::Layer;
use steer_core::plan::Plan;
use steer_core::steerer::Steerer;
use steer_tun::{Tap, Tun};

fn intent(scope: Scope) -> Intent {
    Intent::new(Instance::new("demo").unwrap(), scope)
}

fn of(selector: Selector) -> Intent {
    intent(Scope {
        of: selector,
        ..Scope::default()
    })
}

fn whole_host() -> Intent {
    of(Selector {
        host: true,
        ..Selector::default()
    })
}

fn interface() -> Intent {
    of(Selector {
        interface: vec!["eth1".into()],
        ..Selector::default()
    })
}

/// No scope: the device says what is meant.
fn given(link: Link) -> Intent {
    Intent {
        link,
        ..intent(Scope::default())
    }
}

fn with(mut intent: Intent, change: impl FnOnce(&mut Intent)) -> Intent {
    change(&mut intent);
    intent
}

/// A host with a bridge.
fn bridged() -> Host {
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

/// A host that has inherited a device.
fn inheriting(layer: Layer) -> Host {
    let device = Descriptor::Device {
        name: "theirs".to_owned(),
        layer,
    };
    Host {
        descriptors: [(3, device)].into(),
        ..Host::example()
    }
}

fn gateway() -> Vec<(std::net::IpAddr, u8)> {
    vec![
        ("10.9.0.1".parse().unwrap(), 24),
        ("fd00:9::1".parse().unwrap(), 64),
    ]
}

fn hold(method: &dyn Steerer, name: &str, intent: &Intent, host: &Host) {
    let plan = method.plan(intent, host).unwrap();
    assert_eq!(plan, method.plan(intent, host).unwrap(), "equal inputs");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(plan, serde_json::from_str::<Plan>(&text).unwrap(), "serde");
    let name = format!("{}/{name}", method.method().name());
    lab::assert_golden(env!("CARGO_MANIFEST_DIR"), &name, &plan.to_string());
}

#[test]
fn a_command_with_nothing_written_is_closed() {
    let host = Host::example();
    for method in [&Tun as &dyn Steerer, &Tap] {
        hold(method, "command", &intent(Scope::command()), &host);
    }
}

#[test]
fn a_command_without_privilege_has_namespaces_of_its_own() {
    let host = Host {
        uid: 1000,
        net_admin: Presence::Absent("not among this process's capabilities".to_owned()),
        ..Host::example()
    };
    hold(&Tun, "command-user", &intent(Scope::command()), &host);
}

#[test]
fn a_command_that_fails_open_has_neither_guard_nor_a_route_that_outlives_it() {
    let open = with(intent(Scope::command()), |intent| {
        intent.on_failure = Some(OnFailure::Open);
    });
    hold(&Tun, "command-open", &open, &Host::example());
}

#[test]
fn a_whole_host_fails_open_over_each_backend() {
    let host = Host::example();
    for (name, backend) in [
        ("host-nft", Backend::Nft),
        ("host-iptables", Backend::Iptables),
    ] {
        let over = with(whole_host(), |intent| intent.backend = Some(backend));
        hold(&Tun, name, &over, &host);
    }
}

#[test]
fn a_gateway_takes_what_it_forwards_and_the_device_forwards_it_back() {
    let host = Host::example();
    for method in [&Tun as &dyn Steerer, &Tap] {
        hold(method, "interface", &interface(), &host);
    }
    let closed = with(interface(), |intent| {
        intent.on_failure = Some(OnFailure::Closed);
        intent.traffic.dns = Some(Dns::Capture);
    });
    hold(&Tun, "interface-closed-dns", &closed, &host);
}

#[test]
fn a_family_that_is_not_forwarded_gets_no_rules() {
    let mut host = Host::example();
    for interface in &mut host.interfaces {
        interface.forwards = vec![Family::V4];
    }
    hold(&Tun, "interface-ipv4", &interface(), &host);
}

#[test]
fn a_namespace_gets_everything_inside() {
    let netns = of(Selector {
        netns: Some("web".into()),
        ..Selector::default()
    });
    hold(&Tun, "netns", &netns, &Host::example());
}

#[test]
fn pings_are_taken_where_it_is_written_to_the_addresses_that_are_meant() {
    let echo = with(intent(Scope::command()), |intent| {
        intent.link.echo = Some(Echo::Forward);
        intent.link.mtu = Some(9000);
        intent.link.queues = Some(1);
    });
    hold(&Tun, "echo", &echo, &Host::example());
    let some = with(whole_host(), |intent| {
        intent.link.echo = Some(Echo::Answer);
        intent.traffic.include.protocols = vec![Protocol::Tcp];
        intent.traffic.include.cidrs = vec![
            "203.0.113.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        intent.traffic.exclude.cidrs = vec!["203.0.113.7/32".parse().unwrap()];
    });
    hold(&Tun, "echo-some", &some, &Host::example());
}

#[test]
fn dns_is_taken_by_its_port_and_made_up_addresses_never_leave() {
    let dns = with(intent(Scope::command()), |intent| {
        intent.traffic.dns = Some(Dns::Capture);
        intent.resolve.fake = Some(FakeIp {
            pools: FakeIp::default_pools(),
            names: Vec::new(),
            except: Vec::new(),
            file: None,
        });
    });
    hold(&Tun, "fake-everything", &dns, &Host::example());
}

#[test]
fn quic_can_be_refused_where_udp_is_steered() {
    let open = with(whole_host(), |intent| {
        intent.traffic.quic = Some(Quic::Reject);
    });
    hold(&Tun, "quic-reject", &open, &Host::example());
}

#[test]
fn a_kernel_without_ipv6_gets_no_ipv6_address() {
    let host = Host {
        families: vec![Family::V4],
        socket_families: vec![Family::V4],
        ..Host::example()
    };
    for method in [&Tun as &dyn Steerer, &Tap] {
        hold(method, "ipv4-only", &intent(Scope::command()), &host);
    }
}

#[test]
fn a_device_of_others_needs_no_rule_of_ours() {
    let link = Link {
        fd: Some(3),
        ..Link::default()
    };
    hold(&Tun, "given", &given(link), &inheriting(Layer::Ip));
    let link = Link {
        fd: Some(3),
        gateway: gateway(),
        ..Link::default()
    };
    hold(&Tap, "given", &given(link), &inheriting(Layer::Ethernet));
}

#[test]
fn a_bridge_gets_a_port_that_its_stations_find_the_engine_at() {
    let link = Link {
        bridge: Some("br0".to_owned()),
        gateway: gateway(),
        dhcp: true,
        advertise: true,
        echo: Some(Echo::Answer),
        ..Link::default()
    };
    hold(&Tap, "bridge", &given(link), &bridged());
}
