//! The text of `steer plan` for each case, held against a file.
//!
//! `STEER_BLESS=1 cargo test -p steer-netns --test golden` writes the files anew; read the
//! difference before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::{Family, PortRange};
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intent::{Dns, Intent, Loopback, Publish, Quic, Scope};
use steer_core::plan::Plan;
use steer_core::steerer::Steerer;
use steer_netns::Netns;

fn command() -> Intent {
    Intent::new(Instance::new("demo").unwrap(), Scope::command())
}

fn user() -> Host {
    Host {
        uid: 1000,
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..Host::example()
    }
}

fn hold(name: &str, intent: &Intent, host: &Host) {
    let plan = Netns.plan(intent, host).unwrap();
    assert_eq!(plan, Netns.plan(intent, host).unwrap(), "equal inputs");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(plan, serde_json::from_str::<Plan>(&text).unwrap(), "serde");
    lab::assert_golden(env!("CARGO_MANIFEST_DIR"), name, &plan.to_string());
}

#[test]
fn a_command_with_nothing_written_leaves_no_way_out() {
    hold("command", &command(), &user());
}

#[test]
fn root_is_told_that_the_command_is_root_inside() {
    hold("root", &command(), &Host::example());
}

#[test]
fn a_host_without_ipv6_gives_the_command_none() {
    let host = Host {
        families: vec![Family::V4],
        ..user()
    };
    hold("ipv4-only", &command(), &host);
}

#[test]
fn captured_dns_has_ports_of_its_own() {
    let mut intent = command();
    intent.traffic.dns = Some(Dns::Capture);
    hold("dns", &intent, &user());
}

#[test]
fn services_of_the_hosts_loopback_and_published_ports_are_asked_for() {
    let mut intent = command();
    intent.confine.host_loopback = vec![PortRange::one(5432).unwrap()];
    intent.confine.publish = vec![Publish {
        listen: "127.0.0.1:8080".parse().unwrap(),
        port: 80,
    }];
    hold("walls", &intent, &user());
}

#[test]
fn loopback_can_be_the_hosts_and_quic_refused() {
    let mut intent = command();
    intent.traffic.loopback = Some(Loopback::Steer);
    intent.traffic.quic = Some(Quic::Reject);
    hold("loopback-quic", &intent, &user());
}
