//! Which method is taken for an intent, and what comes with its plan.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(all(feature = "netns", feature = "env", feature = "explicit"))]

use std::net::IpAddr;

use steer::auto::{choose, order};
use steer::core::address::Protocol;
use steer::core::host::{Host, Presence, Transparency};
use steer::core::instance::Instance;
use steer::core::intent::{Forward, Intent, Publish, Scope};
use steer::core::method::Method;
use steer::core::object::Object;
use steer::core::plan::Netns;

fn command() -> Intent {
    Intent::new(Instance::new("demo").unwrap(), Scope::command())
}

/// A host of a user without privilege.
fn user() -> Host {
    Host {
        uid: 1000,
        net_admin: Presence::Absent("not among this process's capabilities".to_owned()),
        bpf: Presence::Absent("not among this process's capabilities".to_owned()),
        ..Host::example()
    }
}

fn chosen(intent: &Intent, host: &Host) -> Method {
    let choice = choose(&order(intent), intent, host).unwrap();
    choice.plan.method
}

#[test]
fn methods_that_need_privilege_come_first_and_netns_before_all_others() {
    assert_eq!(chosen(&command(), &Host::example()), Method::Tproxy);
    assert_eq!(chosen(&command(), &user()), Method::Netns);
    let forbidden = Host {
        user_namespaces: Presence::Absent("user.max_user_namespaces is 0".to_owned()),
        ..user()
    };
    assert_ne!(chosen(&command(), &forbidden), Method::Netns);
}

#[test]
fn a_key_of_one_method_alone_chooses_it() {
    let mut intent = command();
    intent.confine.publish = vec!["8080".parse::<Publish>().unwrap()];
    assert_eq!(chosen(&intent, &Host::example()), Method::Netns);
}

#[test]
#[cfg(all(feature = "tun", feature = "tap"))]
fn a_device_is_made_where_the_kernel_lacks_what_comes_first_or_one_is_written() {
    let lacking = || Presence::Absent("no such module".to_owned());
    let host = Host {
        bpf: lacking(),
        tproxy: Transparency {
            nft: lacking(),
            iptables: lacking(),
        },
        ..Host::example()
    };
    let mut datagrams = command();
    datagrams.traffic.include.protocols = vec![Protocol::Udp];
    assert_eq!(chosen(&datagrams, &host), Method::Tun);
    let mut wide = command();
    wide.link.mtu = Some(9000);
    assert_eq!(chosen(&wide, &Host::example()), Method::Tun);
    let mut stations = Intent::new(Instance::new("demo").unwrap(), Scope::default());
    stations.link.bridge = Some("br0".to_owned());
    stations.link.gateway = vec![(IpAddr::from([10, 9, 0, 1]), 24)];
    let mut host = Host::example();
    host.interfaces[2].name = "br0".to_owned();
    host.interfaces[2].bridge = true;
    assert_eq!(chosen(&stations, &host), Method::Tap);
}

#[test]
fn ports_for_the_command_are_where_the_command_is() {
    let mut intent = command();
    intent.forward = vec![Forward {
        listen: "127.0.0.1:15432".parse().unwrap(),
        to: "db.internal:5432".parse().unwrap(),
        upstream: None,
        proxy_protocol: Vec::new(),
    }];
    for (host, place) in [(user(), Netns::New), (Host::example(), Netns::Here)] {
        let plan = choose(&order(&intent), &intent, &host).unwrap().plan;
        let forward = plan.objects.iter().find(|planned| match &planned.object {
            Object::Listener(listener) => listener.port == Some(15432),
            _ => false,
        });
        assert_eq!(forward.unwrap().netns, place);
    }
}
