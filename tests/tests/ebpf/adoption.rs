//! Programs that run already, chosen by process or by unit.

use lab::{Agent, Cgroup, Client, Family, Service, Signal, Status, eventually};

use crate::site::{Means, OnFailure, Site, echoes};

/// A service in a cgroup of its own, that connects as it is told.
fn service(site: &Site, cgroup: &Cgroup) -> Agent {
    let program = site.app.program("env").cgroup(cgroup);
    Agent::start(program.args(Agent::command_line("agent")))
}

/// What tells a site's things of the test's own from others, without the steering's name.
fn number(site: &Site) -> &str {
    site.name.trim_start_matches('t')
}

/// Whether the server sees the client's own socket.
fn is_direct(server: &lab::Server, client: &mut Client) -> bool {
    assert!(echoes(client, b"hello"));
    let seen = server.seen();
    seen.iter().any(|one| one.peer == client.local())
}

fn cgroup_of(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with("0::"));
    line.expect("cgroup2 is mounted").to_owned()
}

fn adopted(on_failure: OnFailure, family: Family) {
    let site = Site::of_host(Means::Ebpf, "adopt");
    let server = site.srv.serve(7, Service::Echo);
    let udp = site.srv.serve_udp(7);
    let at = site.srv.at(family, 7);
    let cgroup = Cgroup::in_hierarchy(&format!("svc-{}", number(&site)));
    let [running, beside] = [(); 2].map(|()| service(&site, &cgroup));
    let home = cgroup_of(running.pid());
    let mut before = running.connect(at).expect("nothing is steered");
    assert!(is_direct(&server, &mut before));
    // A socket from before that has not called anybody is the program's as well.
    let unused = running.udp_client(family);

    let config = format!(
        "method: ebpf\nscope: {{ pid: {} }}\non_failure: {on_failure}\n",
        running.pid()
    );
    let up = site.up(&config).spawn();
    up.wait_line(|line| line.contains("in force"));
    assert!(echoes(&mut before, b"it goes on"));
    let mut steered = running.connect(at).expect("it is steered");
    assert!(!is_direct(&server, &mut steered), "not steered");
    assert_eq!(steered.peer(), at);
    assert_eq!(unused.ask(at, b"hello"), Ok((b"hello".to_vec(), at)));
    let port = unused.local().port();
    assert!(
        udp.seen().iter().all(|it| it.peer.port() != port),
        "not steered"
    );
    // Its children are its own.
    let child = running.run(
        site.app
            .program("sh")
            .args(["-c", "grep ^0:: /proc/self/cgroup"]),
    );
    assert!(
        child.stdout.contains(&format!("steer-{}", site.name)),
        "{child:?}"
    );
    let mut plain = beside.connect(at).expect("the server listens");
    assert!(is_direct(&server, &mut plain), "a neighbour was steered");
    assert!(echoes(&mut before, b"and on"));
    drop(steered);

    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait(), Status::Exited(0), "{up:#?}");
    assert_eq!(cgroup_of(running.pid()), home, "it is where it was");
    assert!(echoes(&mut before, b"to the end"));
    let mut after = running.connect(at).expect("direct connections work");
    assert!(is_direct(&server, &mut after));
    site.wait_untouched();
}

#[test]
fn a_running_service_is_adopted_by_its_process() {
    lab::require!(Root, Cgroup2);
    adopted(OnFailure::Open, Family::V4);
    adopted(OnFailure::Closed, Family::V6);
}

#[test]
fn existing_connections_are_reset_where_asked_and_come_back_steered() {
    lab::require!(Root, Cgroup2, Program("python3"));
    for family in Family::BOTH {
        let site = Site::of_host(Means::Ebpf, "reset");
        let server = site.srv.serve(7, Service::Echo);
        let at = site.srv.at(family, 7);
        let cgroup = Cgroup::in_hierarchy(&format!("svc-{}", number(&site)));
        let [running, beside] = [(); 2].map(|()| {
            let python = site.app.program("python3").args(["-c", FAITHFUL]);
            let python = python.args([at.ip().to_string(), at.port().to_string()]);
            let running = python.cgroup(&cgroup).spawn();
            running.wait_line(|line| line == "connected 1");
            running
        });
        let log = site.log();
        let config = format!(
            "method: ebpf\nscope: {{ pid: {} }}\nlog: {{ connections: {{ file: \"{}\" }} }}\n",
            running.pid(),
            log.display()
        );
        let up = site.up(&config).arg("--reset").spawn();
        up.wait_line(|line| line.contains("in force"));
        running.wait_line(|line| line == "connected 2");
        assert_eq!(server.wait_for(|seen| seen.len() == 3).len(), 3);
        for (program, said) in [(&beside, "still 1"), (&running, "still 2")] {
            program.write(b"\n");
            program.wait_line(|line| line == said);
        }
        running.kill();
        let records = site.records().wait_for(1);
        assert_eq!(records[0]["pid"], running.pid());
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{up:#?}");
        site.wait_untouched();
    }
}

/// Keeps a connection, and makes another one whenever it breaks; says which it is when asked.
const FAITHFUL: &str = "
import select, socket, sys
count = 0
while True:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    count += 1
    try:
        s.sendall(b'x'); s.recv(1)
        print('connected', count, flush=True)
        while True:
            ready, _, _ = select.select([s, sys.stdin], [], [])
            if s in ready:
                if not s.recv(1): sys.exit('closed')
            else:
                sys.stdin.readline()
                s.sendall(b'y'); s.recv(1)
                print('still', count, flush=True)
    except OSError:
        pass
";

/// By the name that systemd has for it, wherever its cgroup is; a restart makes another cgroup.
#[test]
fn a_unit_is_steered_by_its_name_and_again_after_a_restart() {
    lab::require!(Root, Cgroup2);
    let site = Site::of_host(Means::Ebpf, "unit");
    let server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let slice = Cgroup::in_hierarchy(&format!("lab{}.slice", number(&site)));
    let name = format!("lab{}.service", number(&site));
    let unit = || Cgroup::in_hierarchy(&format!("{}/{name}", slice.name()));
    let first = unit();
    let running = service(&site, &first);
    let up = site.up(&format!("method: ebpf\nscope: {{ cgroup: [{name}] }}\n"));
    let up = up.spawn();
    up.wait_line(|line| line.contains("in force"));
    let mut steered = running.connect(at).expect("it is steered");
    assert!(!is_direct(&server, &mut steered), "not steered");
    drop(steered);
    running.finish();
    drop(first);

    let second = unit();
    let running = service(&site, &second);
    eventually("the unit is steered again", || {
        let mut client = running.connect(at).ok()?;
        (!is_direct(&server, &mut client)).then_some(())
    });
    let mut plain = site.app.connect(at).expect("the server listens");
    assert!(is_direct(&server, &mut plain), "a neighbour was steered");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait(), Status::Exited(0), "{up:#?}");
    site.wait_untouched();
}
