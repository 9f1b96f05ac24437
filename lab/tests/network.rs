//! Hosts, links, servers and clients, with real packets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lab::{
    Agent, Client, Digest, End, Failure, Family, Lab, Live, Pattern, Program, Service, Status,
    eventually,
};

fn pair(name: &str) -> (Lab, lab::Host, lab::Host) {
    let lab = Lab::new(name);
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    (lab, app, srv)
}

#[test]
fn a_server_sees_who_came_to_which_address_and_how_it_ended() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("see");
    for family in Family::BOTH {
        let foreign = family.foreign(7);
        srv.add_address(foreign);
        let server = srv.serve(0, Service::Echo);
        let mut client = app
            .connect(SocketAddr::new(foreign, server.port()))
            .expect("a server listens");
        client.send(b"hello").expect("it receives");
        assert_eq!(client.receive(5), Ok(b"hello".to_vec()));
        client.finish();
        assert_eq!(client.receive_all(), (vec![], End::Fin));
        let seen = server.wait_ended(1);
        assert_eq!(seen[0].peer, client.local());
        assert_eq!(seen[0].local, client.peer());
        assert_eq!(seen[0].peer.ip(), app.address(family));
        assert_eq!(
            (seen[0].received, seen[0].text().as_str(), seen[0].end),
            (5, "hello", End::Fin)
        );
    }
}

#[test]
fn a_client_tells_refused_unreachable_timeout_and_reset_apart() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("fail");
    for (family, unreachable, hole) in [
        (Family::V4, "203.0.113.9", "203.0.113.8"),
        (Family::V6, "2001:db8::9", "2001:db8::8"),
    ] {
        let connect = |address| app.connect(address).map(|_| ());
        assert_eq!(connect(srv.at(family, 9)), Err(Failure::Refused));
        app.make_unreachable(unreachable);
        assert_eq!(
            connect(SocketAddr::new(family.foreign(9), 80)),
            Err(Failure::Unreachable)
        );
        srv.make_blackhole(hole);
        let hang = SocketAddr::new(family.foreign(8), 80);
        let failure =
            app.enter(|| Client::connect_within(hang, Duration::from_millis(300)).map(|_| ()));
        assert_eq!(failure, Err(Failure::TimedOut));

        let server = srv.serve_at(srv.at(family, 0), Service::ResetOnFirstByte);
        let mut client = app
            .connect(srv.at(family, server.port()))
            .expect("a server listens");
        client.send(b"x").expect("the connection stands");
        assert_eq!(client.receive(1), Err(End::Reset));

        let server = srv.serve(0, Service::Finish);
        let mut client = app
            .connect(srv.at(family, server.port()))
            .expect("a server listens");
        assert_eq!(client.receive(1), Err(End::Fin));
        client.reset();
        assert_eq!(server.wait_ended(1)[0].end, End::Reset);
    }
}

#[test]
fn each_direction_ends_by_itself_and_every_byte_is_proved() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("half");
    let length = 3_000_001;
    let digest = srv.serve(0, Service::Digest);
    let mut up = app
        .connect(srv.at(Family::V4, digest.port()))
        .expect("a server listens");
    up.upload(Pattern(3), length).expect("it receives");
    up.finish();
    let (answer, end) = up.receive_all();
    let right = format!("{} {length}\n", Pattern(3).digest(length));
    assert_eq!(
        (String::from_utf8_lossy(&answer).as_ref(), end),
        (right.as_str(), End::Fin)
    );

    let source = srv.serve(0, Service::Source(Pattern(4), length));
    let mut down = app
        .connect(srv.at(Family::V6, source.port()))
        .expect("a server listens");
    let download = down.download();
    assert_eq!(
        (download.digest, download.end),
        (Pattern(4).digest(length), End::Fin)
    );
    assert_eq!(
        source.seen()[0].end,
        End::Open,
        "the client has not finished its side"
    );
    down.send(b"still open")
        .expect("the other direction stands");
    down.finish();
    assert_eq!(source.wait_ended(1)[0].text(), "still open");
}

#[test]
fn banner_silent_and_stalled_servers_do_what_they_are_called() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("kinds");
    let server = srv.serve(0, Service::Banner(b"220 hi\r\n".to_vec()));
    let mut client = app
        .connect(srv.at(Family::V4, server.port()))
        .expect("a server listens");
    assert_eq!(client.receive(8), Ok(b"220 hi\r\n".to_vec()));

    let server = srv.serve(0, Service::Silent);
    let mut client = app
        .connect(srv.at(Family::V4, server.port()))
        .expect("a server listens");
    client.send(b"anyone?").expect("it receives");
    server.wait_for(|seen| seen.len() == 1 && seen[0].received == 7);
    client.patience(Duration::from_millis(100));
    assert_eq!(client.receive(1), Err(End::Open));

    let server = srv.serve(0, Service::Stalled);
    let mut client = app
        .connect(srv.at(Family::V4, server.port()))
        .expect("a server listens");
    client.patience(Duration::from_millis(300));
    assert_eq!(
        client.upload(Pattern(0), 100 << 20),
        Err(End::Open),
        "nobody takes the bytes"
    );
    client.reset();
    assert_eq!(server.wait_ended(1)[0].end, End::Reset);
}

#[test]
fn a_thousand_connections_at_once_are_served() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("many");
    let server = srv.serve(7, Service::Echo);
    let destination = srv.at(Family::V4, 7);
    let answers = app.many(1000, |index| {
        let mut client = Client::connect(destination).expect("a server listens");
        let word = format!("{index:04}");
        client.send(word.as_bytes()).expect("it receives");
        assert_eq!(client.receive(4), Ok(word.into_bytes()));
        client.finish();
        client.receive_all().1
    });
    assert_eq!(answers, vec![End::Fin; 1000]);
    assert_eq!(server.wait_ended(1000).len(), 1000);
}

#[test]
fn live_connections_say_what_each_saw() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("live");
    let server = srv.serve(7, Service::Echo);
    let live = Live::start(&app, srv.at(Family::V6, 7), 50);
    live.wait_round();
    let seen = live.wait_round();
    assert!(
        seen.iter()
            .all(|one| one.end == End::Open && one.echoed >= 2 && !one.corrupt)
    );
    assert!(
        server
            .seen()
            .iter()
            .all(|one| one.text().starts_with("live "))
    );
    drop(server);
    assert_eq!(live.wait_ended().len(), 50);
}

#[test]
fn udp_is_answered_from_the_address_dialled_and_refusal_is_told() {
    lab::require!(Namespaces, Program("ip"));
    let (_lab, app, srv) = pair("udp");
    let server = srv.serve_udp(0);
    for family in Family::BOTH {
        srv.add_address(family.foreign(7));
        let destination = SocketAddr::new(family.foreign(7), server.port());
        let answer = app.ask_udp(destination, b"ping", lab::DEADLINE);
        assert_eq!(answer, Ok((b"ping".to_vec(), destination)));
        let refused = app.ask_udp(srv.at(family, 9), b"ping", lab::DEADLINE);
        assert_eq!(refused, Err(Failure::Refused));
    }
    let seen = server.wait_for(|seen| seen.len() == 2);
    assert_eq!(seen[1].local.ip(), Family::V6.foreign(7));
    assert_eq!(seen[0].peer.ip(), app.address(Family::V4));
}

#[test]
fn curl_gets_what_the_http_server_promises() {
    lab::require!(Namespaces, Program("ip"), Program("curl"));
    let (_lab, app, srv) = pair("http");
    let server = srv.serve(80, Service::Http);
    let url = format!("http://[{}]", srv.address(Family::V6));
    let curl = |path: &str| {
        app.program("curl")
            .args(["-sS", "--globoff"])
            .arg(format!("{url}{path}"))
    };
    let echoed = curl("/a?b=c")
        .args(["-H", "X-Test: yes"])
        .run()
        .expect_success();
    assert!(
        echoed.starts_with("GET /a?b=c HTTP/1.1\r\n") && echoed.contains("X-Test: yes"),
        "{echoed}"
    );
    let bytes = curl("/bytes/100000")
        .arg("-o/dev/null")
        .args(["-w", "%{size_download}"])
        .run()
        .expect_success();
    assert_eq!(bytes, "100000");
    let digest = curl("/digest")
        .args(["--data-binary", "some body"])
        .run()
        .expect_success();
    assert_eq!(digest, format!("{} 9\n", Digest::of(b"some body")));
    assert_eq!(server.wait_ended(3).len(), 3);
}

#[test]
fn a_router_forwards_between_its_links() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("route");
    let (app, gate, srv) = (lab.host("app"), lab.router("gate"), lab.host("srv"));
    lab.link(&app, &gate);
    lab.link(&gate, &srv);
    let server = srv.serve(7, Service::Echo);
    for (count, family) in (1..).zip(Family::BOTH) {
        let client = app.connect(srv.at(family, 7)).expect("the router forwards");
        let seen = server.wait_for(|seen| seen.len() == count);
        assert_eq!(seen[count - 1].peer, client.local());
    }
}

#[test]
fn a_dropped_lab_removes_its_namespaces_and_kills_what_runs_inside() {
    lab::require!(Namespaces, Program("ip"), Program("setsid"));
    let (lab, app, srv) = pair("drop");
    let path = app.namespace_path();
    // In a session of its own and without a guard, as a daemon would be.
    let script = "echo $$; exec sleep 1000";
    let parent = app
        .program("setsid")
        .args(["--fork", "sh", "-c", script])
        .spawn();
    let daemon = format!("/proc/{}/comm", parent.wait_line(|_| true));
    drop(parent);
    eventually("the daemon runs", || {
        std::fs::read_to_string(&daemon)
            .ok()
            .filter(|name| name == "sleep\n")
    });
    assert!(path.exists());
    let panicking = std::thread::spawn(move || {
        let _guards = (lab, app, srv);
        panic!("on purpose");
    });
    assert!(panicking.join().is_err());
    assert!(!path.exists());
    eventually("the daemon is dead", || {
        (!Path::new(&daemon).exists()).then_some(())
    });
}

#[test]
fn namespaces_of_dead_labs_are_swept() {
    lab::require!(Namespaces, Program("ip"));
    // A process id beyond the kernel's largest: certainly dead.
    let name = &format!("lab-orphan-of-{}-4999999-0", std::process::id());
    let made = Program::new("ip").args(["netns", "add", name]).run();
    made.expect_success();
    let exe = std::env::current_exe().expect("a test knows itself");
    // Another process, because each sweeps only once.
    let other = Program::new(exe)
        .args(["--exact", "a_host_alone_has_loopback"])
        .run();
    other.expect_success();
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn a_host_alone_has_loopback() {
    lab::require!(Namespaces, Program("ip"));
    let host = Lab::new("alone").host("app");
    let server = host.serve(7, Service::Echo);
    for family in Family::BOTH {
        host.connect(host.at(family, 7)).expect("loopback is up");
    }
    assert_eq!(server.wait_ended(2).len(), 2);
}

/// The process that acts for the test below.
#[test]
fn agent() {
    lab::serve_agent();
}

#[test]
fn an_agent_keeps_sockets_and_runs_programs() {
    lab::require!(Namespaces, Program("ip"));
    let lab = Lab::new("keeps");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve_udp(7);
    let agent = Agent::start(app.program("env").args(Agent::command_line("agent")));
    for family in Family::BOTH {
        let (open, closed) = (srv.at(family, 7), srv.at(family, 9));
        let bytes = Pattern(1).bytes(60_000);
        let free = agent.udp_client(family);
        assert_eq!(free.ask(open, &bytes), Ok((bytes, open)));
        assert_eq!(free.ask(closed, b"anyone?"), Err(Failure::Refused));
        let connected = agent.udp_client_to(open).expect("there is a route");
        connected.send_segmented(b"onetwo", 3).expect("it is sent");
        assert_eq!(connected.receive(), Ok((b"one".to_vec(), open)));
        assert_eq!(connected.receive(), Ok((b"two".to_vec(), open)));
        connected.patience(Duration::from_millis(10));
        assert_eq!(connected.receive(), Err(Failure::TimedOut));
        let last = server.seen().pop().expect("it was asked");
        assert_eq!(last.peer, connected.local());
    }
    let said = agent.run(Program::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!(
        (said.status, said.stdout.as_str(), said.stderr.as_str()),
        (Status::Exited(3), "out\n", "err\n")
    );
    assert_eq!(agent.finish(), Status::Exited(0));
}

#[test]
fn an_agent_connects_as_the_child_that_it_is() {
    lab::require!(Namespaces, Cgroup2, Program("ip"), Program("nft"));
    let (_lab, app, srv) = pair("agent");
    let server = srv.serve(7, Service::Echo);
    // The uid of a socket is that of the process that made it; only a child's packets may pass.
    let rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; \
                 add rule inet t c tcp dport 7 meta skuid != 12345 reject with tcp reset";
    app.program("nft").arg(rules).run().expect_success();
    let failure = app.connect(srv.at(Family::V4, 7)).map(|_| ());
    assert_eq!(failure, Err(Failure::Refused));
    let exe = std::env::current_exe().expect("a test knows its own program");
    let copy = copy_for_anyone(&exe);
    let words = Agent::command_line("agent");
    let program = app
        .program("env")
        .arg(copy.path().join("agent"))
        .args(&words[1..]);
    let agent = Agent::start(program.user(12345));
    for family in Family::BOTH {
        let mut client = agent.connect(srv.at(family, 7)).expect("the agent may");
        client.send(b"from a child").expect("the connection stands");
        assert_eq!(client.receive(12), Ok(b"from a child".to_vec()));
        assert_eq!(client.local().ip(), app.address(family));
        let refused = agent.connect(srv.at(family, 9)).map(|_| ());
        assert_eq!(refused, Err(Failure::Refused));
    }
    assert_eq!(server.wait_ended(2).len(), 2);
    let clients = (0..20).map(|_| agent.connect(srv.at(Family::V4, 7)).expect("the agent may"));
    let live = Live::over(clients.collect());
    live.wait_round();
    assert!(
        live.stop()
            .iter()
            .all(|one| one.end == End::Closed && !one.corrupt)
    );
    let udp = srv.serve_udp(0);
    let socket = agent.udp(Family::V6);
    socket
        .send_to(b"ping", srv.at(Family::V6, udp.port()))
        .expect("it is sent");
    assert_eq!(udp.wait_for(|seen| seen.len() == 1)[0].payload, b"ping");
    assert_eq!(agent.pid(), agent.proc().pid(), "env executes it in place");
    assert_eq!(agent.finish(), Status::Exited(0));
}

/// A directory with a copy of this test that any user can execute.
fn copy_for_anyone(exe: &Path) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Copied by another process: a child forked meanwhile by a neighbouring test would hold the
    // copy open for writing, and nobody could execute it.
    let copy = Program::new("cp")
        .arg(exe)
        .arg(directory.path().join("agent"));
    copy.run().expect_success();
    let anyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), anyone).expect("our own directory");
    directory
}
