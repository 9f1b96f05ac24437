//! The methods of an ordinary user: the end of the engine, of the command, and of both.

use lab::{Agent, Client, End, Failure, Family, Signal, Status, eventually};

use crate::scene::{Method, Scene};
use crate::site::{echoes, kill, left_by};

/// How many connections live when something ends.
const MANY: usize = 50;

/// Connects fail at once, datagrams are not answered, and nothing of them is seen outside.
fn assert_closed(scene: &Scene, agent: &Agent) {
    scene.witness.clear();
    for _ in 0..20 {
        match agent.connect(scene.at) {
            Ok(_) => panic!("a connect without an engine"),
            Err(Failure::TimedOut) => panic!("neither taken nor refused"),
            Err(_) => {}
        }
    }
    for family in Family::BOTH {
        let socket = agent.udp_client(family);
        // Whether sending fails or not, nobody hears it.
        let _ = socket.send_to(scene.site.srv.at(family, 9), b"a datagram");
    }
    assert_eq!(scene.outside(), []);
}

/// The live connections have ended by a reset, and nothing of them was seen outside.
fn assert_reset_unseen(scene: &Scene, live: &lab::Live) {
    let ended = live.wait_ended();
    let odd = ended
        .iter()
        .find(|one| one.end != End::Reset || one.corrupt);
    assert!(odd.is_none(), "not reset: {odd:#?}");
    let locals: Vec<_> = ended.iter().map(|one| one.local).collect();
    assert_eq!(left_by(&scene.witness, &locals), 0);
}

/// The client is no child of the test's once its engine is dead.
fn wait_gone(pid: i32) {
    eventually("the command has ended", || {
        (!std::path::Path::new("/proc").join(pid.to_string()).exists()).then_some(())
    });
}

fn engine_killed(method: Method) {
    lab::require!(Namespaces);
    let scene = Scene::new("cmdkill");
    let agent = scene.agent(method);
    let live = scene.live(&agent, MANY);
    assert_eq!(agent.proc().kill(), Status::Killed(9));
    assert_reset_unseen(&scene, &live);
    // The command lives, and has no other way.
    eventually("connects fail", || agent.connect(scene.at).err());
    assert_closed(&scene, &agent);
    let pid = agent.pid();
    agent.dismiss();
    wait_gone(pid);
    // What the killed one could not remove.
    scene.clean();
    scene.wait_nothing_left();
    // And the next one starts.
    let next = scene.agent(method);
    let mut client = next.connect(scene.at).expect("it is steered");
    assert!(echoes(&mut client, b"again"));
    drop(client);
    assert_eq!(next.finish(), Status::Exited(0));
    scene.wait_nothing_left();
}

#[test]
fn a_killed_engine_leaves_its_command_no_way_out_netns() {
    engine_killed(Method::Netns);
}

#[test]
fn a_killed_engine_leaves_its_command_no_way_out_seccomp() {
    engine_killed(Method::Seccomp);
}

#[test]
fn a_killed_engine_leaves_its_command_no_way_out_preload() {
    engine_killed(Method::Preload);
}

/// Whoever holds the namespaces is replaced, and connections do not notice.
#[test]
fn a_killed_holder_is_replaced_under_live_connections() {
    lab::require!(Namespaces);
    let scene = Scene::new("holder");
    let agent = scene.agent(Method::Netns);
    let live = scene.live(&agent, MANY);
    let holders = scene.processes(Some("steer-holder"));
    kill(&holders);
    let replaced = || {
        let others = scene.processes(Some("steer-holder"));
        others
            .iter()
            .any(|pid| !holders.contains(pid))
            .then_some(())
    };
    eventually("another holder", replaced);
    live.wait_round();
    let mut client = agent.connect(scene.at).expect("it is steered");
    assert!(echoes(&mut client, b"hello"));
    let locals: Vec<_> = live.seen().iter().map(|one| one.local).collect();
    assert_eq!(left_by(&scene.witness, &locals), 0);
    for one in live.stop() {
        assert_eq!((one.end, one.corrupt), (End::Closed, false), "{one:?}");
    }
    drop(client);
    assert_eq!(agent.finish(), Status::Exited(0));
    scene.wait_nothing_left();
}

fn ended_by_signals(method: Method) {
    lab::require!(Namespaces);
    let scene = Scene::new("cmdsig");
    for (signal, number) in [
        (Signal::SIGTERM, 15),
        (Signal::SIGINT, 2),
        (Signal::SIGHUP, 1),
    ] {
        let script = ["sh", "-c", "echo ready; exec sleep 1000"];
        let run = scene.run(method).args(script).spawn();
        run.wait_line(|line| line == "ready");
        run.signal(signal);
        assert_eq!(run.wait(), Status::Killed(number), "{signal}");
        scene.wait_nothing_left();
    }
    // With connections on their way: the test holds the sockets on.
    let agent = scene.agent(method);
    let live = scene.live(&agent, MANY);
    agent.proc().signal(Signal::SIGTERM);
    assert_reset_unseen(&scene, &live);
    assert_eq!(agent.proc().wait(), Status::Killed(15));
    scene.wait_nothing_left();
}

#[test]
fn a_command_ends_by_the_signal_that_steer_gets_netns() {
    ended_by_signals(Method::Netns);
}

#[test]
fn a_command_ends_by_the_signal_that_steer_gets_seccomp() {
    ended_by_signals(Method::Seccomp);
}

#[test]
fn a_command_ends_by_the_signal_that_steer_gets_preload() {
    ended_by_signals(Method::Preload);
}

/// What is on its way when the command ends arrives.
fn drained(method: Method) {
    lab::require!(Namespaces);
    let scene = Scene::new("cmddrain");
    let agent = scene.agent(method);
    let connect = |_| agent.connect(scene.at).expect("it is steered");
    let mut clients: Vec<Client> = (0..MANY).map(connect).collect();
    agent.dismiss();
    wait_gone(agent.pid());
    for client in &mut clients {
        assert!(echoes(client, b"last words"));
        client.finish();
        assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    }
    assert_eq!(agent.proc().wait(), Status::Exited(0));
    assert_eq!(scene.site.records().all().len(), MANY);
    scene.wait_nothing_left();
}

#[test]
fn many_connections_outlive_the_command_by_what_is_on_its_way_netns() {
    drained(Method::Netns);
}

#[test]
fn many_connections_outlive_the_command_by_what_is_on_its_way_seccomp() {
    drained(Method::Seccomp);
}

#[test]
fn many_connections_outlive_the_command_by_what_is_on_its_way_preload() {
    drained(Method::Preload);
}
