//! The text of `steer plan` for each case and method, held against a file.
//!
//! `STEER_BLESS=1 cargo test -p steer-iptables --test golden` writes the files anew; read the
//! difference before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intent::{
    Backend, Dns, FakeIp, Filter, Intent, Loopback, OnFailure, Quic, Scope, Selector, Source,
    Traffic,
};
use steer_core::plan::Plan;
use steer_core::steerer::Steerer;
use steer_iptables::{Redirect, Tproxy};

fn intent(scope: Scope) -> Intent {
    Intent::new(Instance::new("demo").unwrap(), scope)
}

fn of(selector: Selector) -> Intent {
    intent(Scope {
        of: selector,
        ..Scope::default()
    })
}

fn command() -> Intent {
    intent(Scope::command())
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

fn inbound() -> Intent {
    of(Selector {
        inbound: true,
        ..Selector::default()
    })
}

fn namespace() -> Intent {
    of(Selector {
        netns: Some("web".into()),
        ..Selector::default()
    })
}

fn closed(mut intent: Intent) -> Intent {
    intent.on_failure = Some(OnFailure::Closed);
    intent
}

fn open(mut intent: Intent) -> Intent {
    intent.on_failure = Some(OnFailure::Open);
    intent
}

fn capturing(mut intent: Intent) -> Intent {
    intent.traffic.dns = Some(Dns::Capture);
    intent
}

fn over(backend: Backend, mut intent: Intent) -> Intent {
    intent.backend = Some(backend);
    intent
}

fn for_names(mut intent: Intent) -> Intent {
    intent.traffic.include.domains = vec!["api.example.com".parse().unwrap()];
    intent
}

fn with_fake_addresses(mut intent: Intent) -> Intent {
    intent.resolve.fake = Some(FakeIp {
        pools: FakeIp::default_pools(),
        names: Vec::new(),
        except: Vec::new(),
        file: None,
    });
    capturing(intent)
}

fn hold(method: &dyn Steerer, name: &str, intent: &Intent, host: &Host) {
    let plan = method.plan(intent, host).unwrap();
    assert_eq!(plan, method.plan(intent, host).unwrap(), "equal inputs");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(plan, serde_json::from_str::<Plan>(&text).unwrap(), "serde");
    let name = format!("{}/{name}", method.method().name());
    lab::assert_golden(env!("CARGO_MANIFEST_DIR"), &name, &plan.to_string());
}

/// Holds the plans of both methods.
fn hold_both(name: &str, intent: &Intent, host: &Host) {
    hold(&Redirect, name, intent, host);
    hold(&Tproxy, name, intent, host);
}

#[test]
fn a_command_with_nothing_written_is_closed() {
    hold_both("command", &command(), &Host::example());
}

#[test]
fn a_command_that_fails_open_has_no_guard() {
    hold_both("command-open", &open(command()), &Host::example());
}

#[test]
fn a_whole_host_fails_open_over_each_backend() {
    for (name, backend) in [
        ("host-nft", Backend::Nft),
        ("host-iptables", Backend::Iptables),
        ("host-iptables-legacy", Backend::IptablesLegacy),
    ] {
        let mut host = Host::example();
        host.iptables.insert(
            steer_core::object::IptablesVariant::Legacy,
            steer_core::host::Presence::Present,
        );
        hold_both(name, &over(backend, whole_host()), &host);
    }
}

#[test]
fn users_and_cgroups_with_exceptions_and_chosen_traffic() {
    let mut intent = closed(intent(Scope {
        of: Selector {
            cgroup: vec!["app.slice".into(), "web.slice/blog".into()],
            uid: vec!["1000".parse().unwrap(), "2000-2999".parse().unwrap()],
            gid: vec!["100".parse().unwrap()],
            ..Selector::default()
        },
        except: Selector {
            uid: vec!["1337".parse().unwrap()],
            gid: vec!["1338".parse().unwrap()],
            cgroup: vec!["app.slice/backup".into()],
            ..Selector::default()
        },
        ..Scope::default()
    }));
    intent.traffic = Traffic {
        include: Filter {
            ports: ["80", "443", "3000-5000"]
                .map(|p| p.parse().unwrap())
                .to_vec(),
            cidrs: ["0.0.0.0/0", "2001:db8::/32"]
                .map(|c| c.parse().unwrap())
                .to_vec(),
            ..Filter::default()
        },
        exclude: Filter {
            cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            ports: vec!["22".parse().unwrap()],
            domains: vec!["intra.example.com".parse().unwrap()],
            ..Filter::default()
        },
        loopback: Some(Loopback::Steer),
        dns: None,
        quic: Some(Quic::Leave),
    };
    hold_both("users-and-cgroups", &intent, &Host::example());
}

#[test]
fn a_kernel_without_ipv6_gets_no_ipv6_rules() {
    let host = Host {
        families: vec![Family::V4],
        socket_families: vec![Family::V4],
        ..Host::example()
    };
    hold_both("ipv4-only", &command(), &host);
}

#[test]
fn a_gateway_takes_what_it_forwards_and_not_its_own() {
    hold_both("interface", &interface(), &Host::example());
    let closed = closed(capturing(interface()));
    hold_both("interface-closed-dns", &closed, &Host::example());
}

#[test]
fn a_gateway_keeps_the_clients_address_on_request() {
    let mut intent = interface();
    intent.source = Some(Source::Client);
    hold(&Tproxy, "interface-source", &intent, &Host::example());
}

#[test]
fn a_server_takes_what_comes_in() {
    let mut intent = inbound();
    intent.scope.except.interface = vec!["eth1".into()];
    intent.traffic.include.ports = vec!["80".parse().unwrap()];
    intent.listen.inbound = Some(15006);
    hold_both("inbound", &intent, &Host::example());
    hold_both("inbound-closed", &closed(intent), &Host::example());
}

#[test]
fn a_namespace_gets_everything_inside() {
    hold_both("netns", &namespace(), &Host::example());
}

#[test]
fn captured_dns_has_ports_of_its_own_and_comes_before_loopback() {
    let host = Host {
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..Host::example()
    };
    let mut intent = capturing(command());
    intent.listen.outbound = Some(15001);
    intent.listen.dns = Some(15053);
    hold_both("dns", &intent, &host);
}

#[test]
fn made_up_addresses_are_taken_and_never_leave() {
    let intent = with_fake_addresses(for_names(whole_host()));
    hold_both("fake-names", &intent, &Host::example());
    let everything = with_fake_addresses(command());
    hold_both("fake-everything", &everything, &Host::example());
}

#[test]
fn names_without_made_up_addresses_stand_for_their_true_ones() {
    hold_both("names", &for_names(whole_host()), &Host::example());
}

#[test]
fn quic_can_be_refused_where_udp_is_steered() {
    let mut intent = open(command());
    intent.traffic.quic = Some(Quic::Reject);
    hold(&Tproxy, "quic-reject", &intent, &Host::example());
}

#[test]
fn udp_alone_can_be_steered() {
    let mut intent = closed(whole_host());
    intent.traffic.include.protocols = vec![Protocol::Udp];
    hold(&Tproxy, "udp", &intent, &Host::example());
}
