//! Whom a scope means: a process, a unit, a namespace, and not their neighbours.

use std::fs;
use std::net::SocketAddr;

use lab::{Cgroup, Family, Lab, Service};

use crate::engine::{Engine, agent, of};

#[test]
fn a_running_process_is_steered_with_the_sockets_it_has_and_its_neighbour_is_not() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-pid"), Cgroup::new("ebpf-pid"));
    let app = lab.host("app");
    let server = app.serve(7, Service::Echo);
    let (named, neighbour) = (agent(&app, &cgroup), agent(&app, &cgroup));
    let earlier = named.udp_client(Family::V4);
    let mut intent = of(&cgroup);
    intent.scope.of.cgroup.clear();
    intent.scope.of.pid = vec![named.pid().try_into().unwrap()];
    let engine = Engine::start(&app, &intent);
    let far: SocketAddr = "203.0.113.7:80".parse().unwrap();
    assert_eq!(earlier.ask(far, b"hello").unwrap().0, b"engine:hello");
    let near = SocketAddr::new(Family::V4.loopback(), 7);
    engine.takes_tcp(&named, near);
    assert!(server.seen().is_empty());
    let mut client = neighbour.connect(near).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(engine.came().len(), 2);
    drop(engine);
    let members = fs::read_to_string(cgroup.path().join("cgroup.procs")).unwrap();
    for agent in [&named, &neighbour] {
        let pid = agent.pid().to_string();
        assert!(members.lines().any(|member| member == pid), "it is back");
    }
}

#[test]
fn a_unit_is_steered_by_its_name_alone() {
    lab::require!(Root);
    let (lab, slice) = (Lab::new("ebpf-unit"), Cgroup::new("ebpf-unit"));
    let app = lab.host("app");
    let server = app.serve(7, Service::Echo);
    let unit = format!("{}.service", slice.name());
    let path = slice.path().join(&unit);
    fs::create_dir(&path).unwrap();
    let (inside, beside) = (agent(&app, &slice), agent(&app, &slice));
    fs::write(path.join("cgroup.procs"), inside.pid().to_string()).unwrap();
    let mut intent = of(&slice);
    intent.scope.of.cgroup = vec![unit.clone()];
    let engine = Engine::start(&app, &intent);
    let near = SocketAddr::new(Family::V4.loopback(), 7);
    let who = engine.takes_tcp(&inside, near).identity;
    assert_eq!(who.cgroup, Some(format!("{}/{unit}", slice.name())));
    let mut client = beside.connect(near).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    assert_eq!((server.seen().len(), engine.came().len()), (1, 1));
}

#[test]
fn a_namespace_is_steered_from_outside_and_the_engines_own_is_not() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-netns"), Cgroup::new("ebpf-netns"));
    let (app, other) = (lab.host("app"), lab.host("other"));
    let servers = [&app, &other].map(|host| host.serve(7, Service::Echo));
    let mut intent = of(&cgroup);
    let path = other.namespace_path().to_str().unwrap().to_owned();
    intent.scope.of.netns = Some(path);
    let engine = Engine::start(&app, &intent);
    let (here, there) = (agent(&app, &cgroup), agent(&other, &cgroup));
    let near = SocketAddr::new(Family::V4.loopback(), 7);
    engine.takes_tcp(&there, near);
    for far in ["203.0.113.7:80", "[2001:db8::7]:80"] {
        engine.takes_tcp(&there, far.parse().unwrap());
        engine.takes_udp(&there, far.replace(":80", ":81").parse().unwrap());
    }
    let known = engine.came().len();
    let mut client = here.connect(near).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(engine.came().len(), known);
    assert_eq!(servers.map(|server| server.seen().len()), [1, 0]);
}
