//! Traffic to this host, and traffic of other network namespaces.

use std::path::Path;

use lab::{Agent, Container, Family, Host, Service, UdpServer};
use steer_tests::{Mount, Rig, Setup, Stage};

use super::identity;

pub(crate) fn connections_to_this_host_go_through_the_engine(mount: Mount) {
    for on_failure in ["open", "closed"] {
        let stage = Stage::new("inbound");
        let server = stage.app.serve(7, Service::Echo);
        let elsewhere = stage.srv.serve(7, Service::Echo);
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            ..Setup::scope("{ inbound: true }")
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            let to = stage.app.at(family, 7);
            let mut client = stage.srv.connect(to).expect("the server listens");
            assert_eq!(client.peer(), to);
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            let seen = server.seen();
            let one = seen.last().expect("it was asked");
            assert_eq!(one.local, to);
            assert_ne!(one.peer, client.local(), "it came past the engine");
            let local = client.local().to_string();
            drop(client);
            let record = rig.records().wait_to(to);
            assert_eq!(
                (&record["client"], &record["outcome"]),
                (&local.into(), &"ok".into())
            );
            // A port that nobody serves refuses as ever.
            let refused = stage.srv.connect(stage.app.at(family, 9));
            assert!(
                steer_tests::refusal_of(refused.map_err(steer_tests::Refused::Connect))
                    .is_an_error()
            );
            // What this host sends, to itself too, is another matter.
            for (server, at) in [(&elsewhere, stage.at(family, 7)), (&server, to)] {
                let mut own = stage.app.connect(at).expect("the server listens");
                own.send(b"own").expect("the connection stands");
                assert_eq!(own.receive(3).as_deref(), Ok(&b"own"[..]));
                assert_eq!(server.seen().last().map(|one| one.peer), Some(own.local()));
            }
        }
        let records = rig.finish();
        assert_eq!(records.len(), 4, "{records:#?}");
    }
}

/// What a program serves is its clients' business; it is what it asks for itself that is steered.
pub(crate) fn a_server_in_scope_still_answers_its_clients(mount: Mount) {
    for on_failure in ["open", "closed"] {
        let stage = Stage::new("serves");
        let server = stage.app.serve(7, Service::Echo);
        let udp: UdpServer = stage.app.serve_udp(7);
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            ..Setup::default()
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            let to = stage.app.at(family, 7);
            let mut client = stage.srv.connect(to).expect("the server listens");
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            assert_eq!(
                server.seen().last().map(|one| one.peer),
                Some(client.local())
            );
            client.finish();
            client.receive_all();
            let socket = stage.srv.udp(family);
            for word in [&b"one"[..], b"two"] {
                assert_eq!(socket.ask(to, word), Ok((word.to_vec(), to)));
            }
            let seen = udp.seen();
            let peer = seen.last().expect("it was asked").peer;
            assert_eq!(peer.port(), socket.local().port());
        }
        assert_eq!(rig.finish().len(), 0, "{on_failure}");
    }
}

/// The same program in two networks: each is answered from its own, and the engine dials from there.
pub(crate) fn two_network_namespaces_under_one_cgroup_are_told_apart(mount: Mount) {
    lab::require!(Root, Cgroup2);
    for on_failure in ["open", "closed"] {
        let stage = Stage::new("twonets");
        let [other, third] = ["other", "third"].map(|name| {
            let host = stage.lab.host(name);
            stage.lab.link(&host, &stage.srv);
            host
        });
        let server = stage.srv.serve(7, Service::Echo);
        let udp = stage.srv.serve_udp(7);
        let cgroup = mount.cgroup("both");
        let start = |host: &Host| identity::agent(host.program("env").cgroup(&cgroup));
        let agents = [(&stage.app, start(&stage.app)), (&other, start(&other))];
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            ..Setup::scope(format!("{{ cgroup: {} }}", cgroup.name()))
        };
        let rig = Rig::start_over(&stage.app, &[&other, &third], mount, &setup);
        let asked = |host: &Host, agent: &Agent, family: Family| {
            let to = stage.at(family, 7);
            let mut client = agent.connect(to).ok()?;
            assert_eq!(client.peer(), to);
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            let peer = server.seen().last().expect("it was asked").peer;
            assert_eq!(peer.ip(), host.address(family), "dialled from elsewhere");
            (peer != client.local()).then_some(())
        };
        for family in Family::BOTH {
            let to = stage.at(family, 7);
            for (host, agent) in &agents {
                asked(host, agent, family).expect("it is steered");
                let socket = agent.udp_client(family);
                assert_eq!(socket.ask(to, b"hello"), Ok((b"hello".to_vec(), to)));
                let peer = udp.seen().last().expect("it was asked").peer;
                assert_eq!(peer.ip(), host.address(family));
                assert_ne!(peer.port(), socket.local().port(), "it was not steered");
            }
            // Others in the same networks are no concern of it.
            for host in [&stage.app, &other, &third] {
                let client = host.connect(to).expect("the server listens");
                server.wait_for(|seen| seen.iter().any(|one| one.peer == client.local()));
            }
        }
        // One that appears while the engine runs is served as soon as it is known.
        let late = start(&third);
        lab::eventually("the third network is steered", || asked(&third, &late, Family::V6));
        asked(&third, &late, Family::V4).expect("it is steered");
        let records = rig.finish();
        let tcp = records.iter().filter(|it| it["protocol"] == "tcp");
        let ok = tcp.filter(|it| it["outcome"] == "ok").count();
        assert_eq!(ok, 6, "{on_failure}: {records:#?}");
    }
}

/// Steering of a host from another one that has no link at all.
fn steered_from_afar(mount: Mount, name: impl Fn(&Host) -> String) {
    for on_failure in ["open", "closed"] {
        let stage = Stage::new("netns");
        let home = stage.lab.host("home");
        let server = stage.srv.serve(7, Service::Echo);
        let udp = stage.srv.serve_udp(7);
        let own = home.serve(8, Service::Echo);
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            ..Setup::scope(format!("{{ netns: \"{}\" }}", name(&stage.app)))
        };
        let rig = Rig::start_over(&home, &[&stage.app], mount, &setup);
        for family in Family::BOTH {
            let to = stage.at(family, 7);
            let mut client = stage.app.connect(to).expect("it is steered");
            assert_eq!(client.peer(), to);
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            let seen = server.seen();
            let one = seen.last().expect("it was asked");
            // Dialled in there: here is no way to the server.
            assert_eq!((one.local, one.peer.ip()), (to, stage.app.address(family)));
            assert_ne!(one.peer, client.local(), "it was not steered");
            drop(client);
            assert_eq!(rig.records().wait_to(to)["outcome"], "ok");
            if mount.steers_udp() {
                let socket = stage.app.udp(family);
                assert_eq!(socket.ask(to, b"hello"), Ok((b"hello".to_vec(), to)));
                let seen = udp.seen();
                let peer = seen.last().expect("it was asked").peer;
                assert_ne!(peer.port(), socket.local().port(), "it was not steered");
            }
            // The host of the engine is not meant.
            let client = home
                .connect(home.at(family, 8))
                .expect("the server listens");
            own.wait_for(|seen| seen.iter().any(|one| one.peer == client.local()));
        }
        let count = if mount.steers_udp() { 4 } else { 2 };
        assert_eq!(rig.finish().len(), count, "{on_failure}");
    }
}

pub(crate) fn another_namespace_is_steered_by_path_and_by_process(mount: Mount) {
    steered_from_afar(mount, |host| host.namespace_path().display().to_string());
    let stage = Stage::new("holder");
    drop(stage);
    // The process stays for as long as the test does.
    let holders = std::cell::RefCell::new(Vec::new());
    steered_from_afar(mount, |host| {
        let holder = host.program("sleep").arg("1000").spawn();
        let pid = holder.pid().to_string();
        holders.borrow_mut().push(holder);
        pid
    });
}

pub(crate) fn a_container_is_steered_by_its_name(mount: Mount) {
    lab::require!(Root, Program("podman"), Program("runc"), Path("/usr/bin/busybox"));
    let stage = Stage::new("pod");
    let home = stage.lab.host("home");
    let server = stage.srv.serve(80, Service::Http);
    let container = match mount {
        Mount::Ebpf => Container::start_in_hierarchy(&stage.app, "pod"),
        _ => Container::start(&stage.app, "pod"),
    };
    for name in [container.name(), container.id()] {
        let setup = Setup {
            variables: container.variables().to_vec(),
            ..Setup::scope(format!("{{ netns: \"{name}\" }}"))
        };
        let before = server.seen().len();
        let rig = Rig::start_over(&home, &[&stage.app], mount, &setup);
        for family in Family::BOTH {
            let to = stage.at(family, 80);
            let url = format!("http://{to}/hello");
            let got = container.program(["wget", "-q", "-O", "-", &url]).run();
            assert!(got.expect_success().starts_with("GET /hello HTTP/1.1"));
            let record = rig.records().wait_to(to);
            assert_eq!(
                (&record["app"], &record["outcome"]),
                (&"http1".into(), &"ok".into())
            );
        }
        assert_eq!(
            server.wait_for(|seen| seen.len() == before + 2).len(),
            before + 2
        );
        drop(rig);
    }
    assert!(Path::new(&format!("/proc/{}", container.pid())).exists());
}

/// Inside, where the program's own network leads; outside, where the engine's does.
pub(crate) fn the_engine_dials_from_where_it_is_told(mount: Mount) {
    let stage = Stage::new("dial");
    let home = stage.lab.host("home");
    stage.lab.link(&home, &stage.srv);
    let server = stage.srv.serve(7, Service::Echo);
    let udp = stage.srv.serve_udp(7);
    for (dial, host) in [("inside", &stage.app), ("outside", &home)] {
        let setup = Setup {
            policy: format!("dial: {dial}\n"),
            ..Setup::scope(format!(
                "{{ netns: \"{}\" }}",
                stage.app.namespace_path().display()
            ))
        };
        // Each has its own link to the servers' host, which answers on the one it was asked over.
        for family in Family::BOTH {
            let rig = Rig::start_over(&home, &[&stage.app], mount, &setup);
            let to = stage.another_address(family, if dial == "inside" { 21 } else { 22 });
            let to = std::net::SocketAddr::new(to, 7);
            let mut client = stage.app.connect(to).expect("it is steered");
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]), "{dial}");
            let seen = server.seen();
            let peer = seen.last().expect("it was asked").peer;
            assert_eq!(peer.ip(), host.address(family), "{dial}");
            if mount.steers_udp() {
                stage
                    .app
                    .udp(family)
                    .ask(to, b"hello")
                    .expect("it is echoed");
                let seen = udp.seen();
                let peer = seen.last().expect("it was asked").peer;
                assert_eq!(peer.ip(), host.address(family), "{dial}");
            }
            drop(client);
            drop(rig);
        }
    }
}
