//! Who and what is not meant is left alone.

use std::net::SocketAddr;

use lab::{Agent, Client, End, Family, Host, Live, Program, Server, Service, Status};
use steer_tests::{
    Mount, Record, Records, Refused, Rig, Setup, Speech, Stage, instance_name,
};

pub(crate) fn a_neighbour_of_another_user_is_untouched(mount: Mount) {
    lab::require!(Root);
    let stage = Stage::new("user");
    let (inside, outside) = (user(&stage.app, 2001), user(&stage.app, 2002));
    let setup = Setup::scope("{ uid: 2000-2001 }");
    let records = told_apart(&stage, mount, &setup, &inside, &outside);
    assert!(records.iter().all(|record| record["uid"] == 2001), "{records:?}");
}

pub(crate) fn whoever_is_excepted_is_untouched(mount: Mount) {
    lab::require!(Root);
    let stage = Stage::new("except");
    let (inside, outside) = (user(&stage.app, 2001), user(&stage.app, 2002));
    let setup = Setup::scope("{ host: true, except: { uid: 2002 } }");
    told_apart(&stage, mount, &setup, &inside, &outside);
}

pub(crate) fn a_neighbour_of_another_group_is_untouched(mount: Mount) {
    lab::require!(Root);
    let stage = Stage::new("group");
    let [inside, outside] =
        [3001, 3002].map(|id| Agent::start(agent(&stage.app).user(2001).group(id)));
    told_apart(&stage, mount, &Setup::scope("{ gid: [3001, 4000-4010] }"), &inside, &outside);
}

pub(crate) fn a_neighbour_of_another_cgroup_is_untouched(mount: Mount) {
    lab::require!(Cgroup2);
    let stage = Stage::new("cgroup");
    let (chosen, other) = (mount.cgroup("chosen"), mount.cgroup("other"));
    let inside = Agent::start(agent(&stage.app).cgroup(&chosen));
    let outside = Agent::start(agent(&stage.app).cgroup(&other));
    let setup = Setup::scope(format!("{{ cgroup: {} }}", chosen.name()));
    told_apart(&stage, mount, &setup, &inside, &outside);
}

/// Connects from both agents in both families, and tells whom the server and the log have seen.
fn told_apart(
    stage: &Stage,
    mount: Mount,
    setup: &Setup,
    inside: &Agent,
    outside: &Agent,
) -> Vec<Record> {
    let server = stage.srv.serve(7, Service::Echo);
    let udp = stage.srv.serve_udp(9);
    let mut all = Vec::new();
    // What refuses under closed refuses the scope alone.
    for on_failure in ["open", "closed"] {
        let mut setup = setup.clone();
        on_failure.clone_into(&mut setup.on_failure);
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            let to = stage.at(family, 7);
            let steered = inside.connect(to).expect("the server listens");
            let plain = outside.connect(to).expect("the server listens");
            assert!(!is_direct(&server, steered), "{to}: not steered");
            assert!(is_direct(&server, plain), "{to}: a neighbour was steered");
            let before = udp.seen().len();
            let socket = outside.udp_client(family);
            let sent = socket.send_to(stage.at(family, 9), b"hello");
            sent.expect("a neighbour may send");
            udp.wait_for(|seen| seen.len() > before);
        }
        all.extend(rig.records().wait_for(2));
    }
    assert_eq!(all.len(), 4, "{all:#?}");
    all
}

/// Speaks over a connection, and says whether the server sees the client's own socket.
fn is_direct(server: &Server, mut client: Client) -> bool {
    client.send(b"hello").expect("the connection stands");
    assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
    let seen = server.seen();
    seen.iter().any(|one| one.peer == client.local())
}

/// `run`: the command and its children are steered, a program beside it is not.
pub(crate) fn a_command_is_steered_and_its_neighbour_is_not(mount: Mount) {
    lab::require!(Program("curl"));
    if mount.takes_scope() && !lab::require(&[lab::Need::Cgroup2]) {
        return;
    }
    let stage = Stage::new("command");
    let (server, to) = stage.serve(80, Service::Http);
    let url = format!("http://{to}/bytes/1000");
    let curl = ["curl", "-sS", "--max-time", "15", &url];
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("log.jsonl");
    let plain = stage.app.program(curl[0]).args(&curl[1..]);
    let unsteered = plain.run().expect_success();

    let mut run = mount
        .steer(&stage.app)
        .env("STEER_RUN_DIR", folder.path().join("run"))
        .args(["run", "-m", mount.method(), "--name", &instance_name(), "--log"])
        .arg(&log);
    if let Some(backend) = mount.backend() {
        run = run.args(["--backend", backend]);
    }
    let script = format!("{} && echo && echo READY && cat", curl.join(" "));
    let proc = run.args(["--", "sh", "-c", &script]).spawn();
    let said = proc.wait_stdout(|said| said.contains("READY"));
    assert_eq!(said, format!("{unsteered}\nREADY\n"));
    let mut neighbour = stage.app.connect(to).expect("the server listens");
    neighbour.send(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n").expect("it stands");
    assert_eq!(neighbour.receive_all().1, End::Fin);
    neighbour.finish();
    let seen = server.wait_ended(3);
    assert_eq!(seen[2].peer, neighbour.local());
    proc.close_input();
    assert_eq!(proc.wait(), Status::Exited(0), "{proc:#?}");

    let records = Records::of(log).all();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["destination"], to.to_string());
    assert_eq!(records[0]["method"], mount.method());
    assert_eq!(records[0]["outcome"], "ok");
}

pub(crate) fn excluded_ports_and_networks_are_untouched(mount: Mount) {
    let stage = Stage::new("exclude");
    let other4 = SocketAddr::new(stage.another_address(Family::V4, 9), 7);
    let other6 = SocketAddr::new(stage.another_address(Family::V6, 9), 7);
    let setup = Setup::traffic(format!(
        "{{ exclude: {{ ports: [22, 8000-8010], cidrs: [{}, \"{}\"] }} }}",
        other4.ip(),
        other6.ip()
    ));
    let plain = [stage.at(Family::V4, 22), stage.at(Family::V6, 8005), other4, other6];
    chosen(&stage, mount, &setup, &[stage.at(Family::V4, 7), stage.at(Family::V6, 7)], &plain);
}

pub(crate) fn only_included_ports_and_networks_are_steered(mount: Mount) {
    let stage = Stage::new("include");
    let other4 = stage.another_address(Family::V4, 9);
    let other6 = stage.another_address(Family::V6, 9);
    let setup = Setup::traffic(format!(
        "{{ include: {{ ports: [7, 8000-8010], cidrs: [{other4}, \"{other6}/128\"] }} }}"
    ));
    let steered = [SocketAddr::new(other4, 7), SocketAddr::new(other6, 8005)];
    let plain = [
        SocketAddr::new(other4, 22),
        SocketAddr::new(other6, 22),
        stage.at(Family::V4, 7),
        stage.at(Family::V6, 8005),
    ];
    chosen(&stage, mount, &setup, &steered, &plain);
}

/// Connects to destinations that are steered and to others, from the whole host.
fn chosen(
    stage: &Stage,
    mount: Mount,
    setup: &Setup,
    steered: &[SocketAddr],
    plain: &[SocketAddr],
) {
    let servers = [7, 22, 8005].map(|port| stage.srv.serve(port, Service::Echo));
    let rig = Rig::start(&stage.app, mount, setup);
    for (destinations, direct) in [(steered, false), (plain, true)] {
        for to in destinations {
            let server = servers.iter().find(|server| server.port() == to.port());
            let server = server.expect("a server of that port");
            let client = rig.connect(*to).expect("the server listens");
            assert_eq!(is_direct(server, client), direct, "{to}");
        }
    }
    let records = rig.records().wait_for(steered.len());
    let mut said: Vec<_> = records.iter().map(|it| it["destination"].clone()).collect();
    let mut meant: Vec<_> = steered.iter().map(|to| to.to_string().into()).collect();
    said.sort_by_key(ToString::to_string);
    meant.sort_by_key(serde_json::Value::to_string);
    assert_eq!(said, meant);
}

pub(crate) fn loopback_is_skipped(mount: Mount) {
    loopback(mount, "{ loopback: skip }", true);
    // Where nothing is written, loopback is left alone too.
    loopback(mount, "", true);
}

pub(crate) fn loopback_is_steered_where_asked(mount: Mount) {
    loopback(mount, "{ loopback: steer }", false);
}

fn loopback(mount: Mount, traffic: &str, direct: bool) {
    let stage = Stage::new("lo");
    let rig = Rig::start(&stage.app, mount, &Setup::traffic(traffic));
    let place = if direct { rig.inside() } else { stage.app.clone() };
    let server = place.serve(7, Service::Echo);
    for to in ["127.0.0.1:7", "127.9.9.9:7", "[::1]:7"] {
        let to: SocketAddr = to.parse().expect("an address");
        let client = rig.connect(to).expect("the server listens");
        assert_eq!(is_direct(&server, client), direct, "{to}");
        if !direct {
            assert_eq!(rig.records().wait_to(to)["outcome"], "ok");
        }
    }
    assert!(server.seen().iter().any(|one| one.local.to_string() == "127.9.9.9:7"));
    // All else is steered, one way or the other.
    let (_server, other) = stage.serve(8, Service::Finish);
    drop(rig.connect(other).expect("the server listens"));
    rig.records().wait_to(other);
    let steered = if direct { 1 } else { 4 };
    assert_eq!(rig.records().all().len(), steered);
}

/// Starting, serving and stopping leave alone what was connected before.
pub(crate) fn established_connections_go_on_untouched(mount: Mount) {
    for on_failure in mount.on_failures() {
        let stage = Stage::new("before");
        let server = stage.srv.serve(7, Service::Echo);
        let live = Family::BOTH.map(|family| Live::start(&stage.app, stage.at(family, 7), 25));
        let go_on = || live.iter().for_each(|live| drop(live.wait_round()));
        go_on();

        let setup = Setup {
            on_failure: (*on_failure).to_owned(),
            ..Setup::default()
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        go_on();
        let to = stage.at(Family::V4, 7);
        let mut steered = rig.connect(to).expect("the server listens");
        steered.send(b"hello").expect("the connection stands");
        assert_eq!(steered.receive(5).as_deref(), Ok(&b"hello"[..]));
        drop(steered);
        rig.records().wait_to(to);
        go_on();
        rig.stop();
        go_on();

        for one in live.into_iter().flat_map(Live::stop) {
            assert_eq!((one.end, one.corrupt), (End::Closed, false), "{one:?}");
        }
        assert_eq!(server.seen().len(), 51);
    }
}

/// On loopback every user reaches the port, with the rights of the engine behind it.
pub(crate) fn the_port_of_a_command_serves_no_other_user(mount: Mount) {
    lab::require!(Root);
    let stage = Stage::new("owner");
    let (server, to) = stage.serve(7, Service::Echo);
    let stranger = user(&stage.app, 2002);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let entrance = rig.entrance().expect("the method has a port");
    for (speech, refusal) in [
        (Speech::Connect, Refused::Http(403)),
        (Speech::Socks5, Refused::Socks5(2)),
    ] {
        let mut client = stranger.connect(entrance).expect("the port listens");
        assert_eq!(speech.ask(&mut client, to), Err(refusal));
    }
    assert_eq!(server.seen(), []);
    let mut own = rig.connect(to).expect("the server listens");
    own.finish();
    assert_eq!(own.receive_all(), (Vec::new(), End::Fin));
    server.wait_ended(1);
}

fn user(host: &Host, id: u32) -> Agent {
    Agent::start(agent(host).user(id))
}

/// The test binary again, as a child whose sockets the test uses.
fn agent(host: &Host) -> Program {
    host.program("env").args(Agent::command_line("agent"))
}
