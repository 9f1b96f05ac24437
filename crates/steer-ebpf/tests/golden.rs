//! The text of `steer plan` for each case, held against a file.
//!
//! `STEER_BLESS=1 cargo test -p steer-ebpf --test golden` writes the files anew; read the difference
//! before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::host::Host;
use steer_core::instance::Instance;
use steer_core::intent::{
    Dns, FakeIp, Filter, Intent, Loopback, OnFailure, Quic, Scope, Selector, Traffic,
};
use steer_core::plan::Plan;
use steer_core::steerer::Steerer;
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

fn host() -> Host {
    Host {
        units: [("nginx.service".into(), "system.slice/nginx.service".into())].into(),
        processes: [(77, Some("system.slice/old.service".to_owned()))].into(),
        ..Host::example()
    }
}

fn hold(name: &str, intent: &Intent) {
    let plan = Ebpf.plan(intent, &host()).unwrap();
    assert_eq!(plan, Ebpf.plan(intent, &host()).unwrap(), "equal inputs");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(plan, serde_json::from_str::<Plan>(&text).unwrap(), "serde");
    lab::assert_golden(env!("CARGO_MANIFEST_DIR"), name, &plan.to_string());
}

#[test]
fn a_command() {
    hold("command", &intent(Scope::command()));
}

#[test]
fn everybody_under_open_with_every_choice_written() {
    let mut intent = of(Selector {
        host: true,
        ..Selector::default()
    });
    intent.on_failure = Some(OnFailure::Open);
    intent.traffic = Traffic {
        include: Filter {
            ports: vec!["80".parse().unwrap(), "443".parse().unwrap()],
            ..Filter::default()
        },
        exclude: Filter {
            cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            ..Filter::default()
        },
        loopback: Some(Loopback::Steer),
        dns: Some(Dns::Capture),
        quic: Some(Quic::Reject),
    };
    hold("host-written", &intent);
}

#[test]
fn a_unit_under_closed() {
    let mut intent = of(Selector {
        cgroup: vec!["nginx.service".into(), "user.slice".into()],
        ..Selector::default()
    });
    intent.on_failure = Some(OnFailure::Closed);
    hold("unit", &intent);
}

#[test]
fn a_running_process() {
    hold(
        "pid",
        &of(Selector {
            pid: vec![77],
            ..Selector::default()
        }),
    );
}

#[test]
fn another_namespace() {
    hold(
        "netns",
        &of(Selector {
            netns: Some("web".into()),
            ..Selector::default()
        }),
    );
}

#[test]
fn chosen_names_with_made_up_addresses() {
    let mut intent = intent(Scope::command());
    intent.traffic.include.domains = vec!["*.example.com".parse().unwrap()];
    intent.traffic.dns = Some(Dns::Capture);
    intent.resolve.fake = Some(FakeIp {
        pools: FakeIp::default_pools(),
        names: Vec::new(),
        except: Vec::new(),
        file: None,
    });
    hold("fake-ip", &intent);
}

#[test]
fn another_proxy() {
    let mut intent = of(Selector {
        host: true,
        ..Selector::default()
    });
    intent.listen.external = Some("127.0.0.1:15001".parse().unwrap());
    intent.scope.except.uid = vec!["1337".parse().unwrap()];
    hold("external", &intent);
}

#[test]
fn what_comes_in() {
    let mut intent = of(Selector {
        inbound: true,
        ..Selector::default()
    });
    intent.traffic.include.ports = vec!["80-90".parse().unwrap()];
    intent.on_failure = Some(OnFailure::Closed);
    hold("inbound", &intent);
}
