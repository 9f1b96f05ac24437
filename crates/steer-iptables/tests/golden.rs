//! The text of `steer plan` for each case, held against a file.
//!
//! `STEER_BLESS=1 cargo test -p steer-iptables --test golden` writes the files anew; read the
//! difference before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use steer_core::address::Family;
use steer_core::host::{Host, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{
    Backend, Filter, Intent, Loopback, OnFailure, Quic, Scope, Selector, Traffic,
};
use steer_core::object::Object;
use steer_core::plan::Plan;
use steer_core::ruleset::Role;
use steer_core::steerer::{PlanError, Steerer};
use steer_iptables::Redirect;

fn intent(scope: Scope) -> Intent {
    Intent::new(Instance::new("demo").unwrap(), scope)
}

fn of(selector: Selector) -> Scope {
    Scope {
        of: selector,
        ..Scope::default()
    }
}

fn whole_host() -> Scope {
    of(Selector {
        host: true,
        ..Selector::default()
    })
}

fn hold(name: &str, intent: &Intent, host: &Host) {
    let plan = Redirect.plan(intent, host).unwrap();
    assert_eq!(plan, Redirect.plan(intent, host).unwrap(), "equal inputs");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(plan, serde_json::from_str::<Plan>(&text).unwrap(), "serde");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    let shown = plan.to_string();
    if std::env::var_os("STEER_BLESS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{}", path.display());
}

#[test]
fn a_command_with_nothing_written_is_closed() {
    hold("command", &intent(Scope::command()), &Host::example());
}

#[test]
fn a_command_that_fails_open_has_no_guard() {
    let mut intent = intent(Scope::command());
    intent.on_failure = Some(OnFailure::Open);
    hold("command-open", &intent, &Host::example());
}

#[test]
fn a_whole_host_fails_open_over_iptables() {
    let mut intent = intent(whole_host());
    intent.backend = Some(Backend::Iptables);
    hold("host-iptables", &intent, &Host::example());
}

#[test]
fn users_and_cgroups_with_exceptions_and_chosen_traffic() {
    let mut intent = intent(Scope {
        of: Selector {
            cgroup: vec!["app.slice".into(), "web.slice/blog".into()],
            uid: vec!["1000".parse().unwrap(), "2000-2999".parse().unwrap()],
            ..Selector::default()
        },
        except: Selector {
            uid: vec!["1337".parse().unwrap()],
            cgroup: vec!["app.slice/backup".into()],
            ..Selector::default()
        },
        ..Scope::default()
    });
    intent.on_failure = Some(OnFailure::Closed);
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
            ..Filter::default()
        },
        loopback: Some(Loopback::Steer),
        dns: None,
        quic: Some(Quic::Leave),
    };
    hold("users-and-cgroups", &intent, &Host::example());
}

#[test]
fn a_kernel_without_ipv6_gets_no_ipv6_rules() {
    let host = Host {
        families: vec![Family::V4],
        socket_families: vec![Family::V4],
        ..Host::example()
    };
    hold("ipv4-only", &intent(Scope::command()), &host);
}

#[test]
fn ipv6_that_cannot_be_listened_for_is_refused() {
    let host = Host {
        families: vec![Family::V4],
        ..Host::example()
    };
    let plan = Redirect.plan(&intent(Scope::command()), &host).unwrap();
    let guard = plan
        .objects
        .iter()
        .find_map(|planned| match &planned.object {
            Object::Nft(rules) if rules.role == Role::Guard => Some(rules),
            _ => None,
        });
    assert_eq!(guard.unwrap().families, Family::ALL);
    assert!(plan.to_string().contains("IPv6 is refused"), "{plan}");
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let mut wish = intent(of(Selector {
        interface: vec!["eth1".into()],
        ..Selector::default()
    }));
    wish.traffic.include.protocols = vec![steer_core::address::Protocol::Udp];
    let error = Redirect.plan(&wish, &Host::example()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the method redirect cannot honour scope.interface, traffic.include.protocols: udp"
    );
}

#[test]
fn an_empty_scope_is_an_error() {
    let error = Redirect.plan(&intent(Scope::default()), &Host::example());
    assert_eq!(error.unwrap_err(), PlanError::EmptyScope);
}

#[test]
fn a_host_that_lacks_something_gets_the_remedy() {
    let host = Host {
        net_admin: Presence::Absent("uid 1000 has no capability".into()),
        ..Host::example()
    };
    let error = Redirect.plan(&intent(Scope::command()), &host).unwrap_err();
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    assert!(error.help().contains("sudo"), "{}", error.help());
}

#[test]
fn without_nf_tables_the_rules_go_to_iptables() {
    let host = Host {
        nft: Presence::Absent("the kernel has none".into()),
        ..Host::example()
    };
    let plan = Redirect.plan(&intent(whole_host()), &host).unwrap();
    assert!(plan.to_string().contains("iptables-nft chains"), "{plan}");
    let neither = Host {
        iptables: std::collections::BTreeMap::new(),
        ..host
    };
    assert!(Redirect.plan(&intent(whole_host()), &neither).is_err());
}
