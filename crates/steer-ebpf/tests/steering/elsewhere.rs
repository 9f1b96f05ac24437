//! Programs of one cgroup in several network namespaces.

use std::net::SocketAddr;

use lab::{Cgroup, Lab, eventually};
use steer_core::intent::Dial;

use crate::engine::{Engine, agent, of};

#[test]
fn two_namespaces_under_one_cgroup_are_both_steered() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-two"), Cgroup::new("ebpf-two"));
    let (app, other) = (lab.host("app"), lab.host("other"));
    let there = agent(&other, &cgroup);
    let engine = Engine::start(&app, &of(&cgroup));
    let here = agent(&app, &cgroup);
    let to = |port| SocketAddr::from(([203, 0, 113, 7], port));
    // Refused until the engine listens there as well.
    eventually("a listener in the other namespace", || {
        there.connect(to(80)).ok()
    });
    assert!(engine.takes_tcp(&there, to(82)).inside);
    assert!(engine.takes_udp(&there, to(83)).inside);
    assert!(!engine.takes_tcp(&here, to(84)).inside);
    assert!(!engine.takes_udp(&here, to(85)).inside);
    let v6: SocketAddr = "[2001:db8::7]:86".parse().unwrap();
    assert!(engine.takes_tcp(&there, v6).inside);
}

#[test]
fn a_namespace_that_comes_later_is_entered_when_a_program_there_connects() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-later"), Cgroup::new("ebpf-later"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let other = lab.host("other");
    let there = agent(&other, &cgroup);
    let to: SocketAddr = "203.0.113.7:80".parse().unwrap();
    eventually("a listener in the other namespace", || {
        there.connect(to).ok()
    });
    assert!(
        engine
            .takes_tcp(&there, "203.0.113.7:81".parse().unwrap())
            .inside
    );
}

#[test]
fn what_is_dialled_outside_is_dialled_from_the_engines_namespace() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-outside"), Cgroup::new("ebpf-outside"));
    let (app, other) = (lab.host("app"), lab.host("other"));
    let there = agent(&other, &cgroup);
    let mut intent = of(&cgroup);
    intent.dial = Some(Dial::Outside);
    let engine = Engine::start(&app, &intent);
    let to = |port| SocketAddr::from(([203, 0, 113, 7], port));
    eventually("a listener in the other namespace", || {
        there.connect(to(80)).ok()
    });
    assert!(!engine.takes_tcp(&there, to(81)).inside);
    assert!(!engine.takes_udp(&there, to(82)).inside);
}

#[test]
fn a_namespace_without_ipv6_is_steered_for_ipv4_all_the_same() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-four"), Cgroup::new("ebpf-four"));
    let (app, other) = (lab.host("app"), lab.host("other"));
    other.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    let there = agent(&other, &cgroup);
    let engine = Engine::start(&app, &of(&cgroup));
    let to = |port| SocketAddr::from(([203, 0, 113, 7], port));
    eventually("a listener in the other namespace", || {
        there.connect(to(80)).ok()
    });
    assert!(engine.takes_tcp(&there, to(82)).inside);
    assert!(engine.takes_udp(&there, to(83)).inside);
    assert!(there.connect("[2001:db8::7]:84".parse().unwrap()).is_err());
}
