//! Who asked, told by the hook.

use std::net::SocketAddr;

use lab::{Cgroup, Host, Lab};

use crate::engine::{Engine, agent, of};

#[test]
fn a_program_is_known_by_its_process_its_file_and_its_cgroup() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-who"), Cgroup::new("ebpf-who"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    for to in ["203.0.113.7:80", "203.0.113.7:81"] {
        let to: SocketAddr = to.parse().unwrap();
        let came = match to.port() {
            80 => engine.takes_tcp(&agent, to),
            _ => engine.takes_udp(&agent, to),
        };
        let who = came.identity;
        assert_eq!((who.uid, who.gid), (Some(0), Some(0)));
        assert_eq!(who.cgroup.as_deref(), Some(cgroup.name()));
        assert_eq!(who.container, None);
        assert!(who.command.is_some());
        // Process ids mean the same in the initial pid namespace alone.
        if let Some(pid) = who.pid {
            assert_eq!(i32::try_from(pid).unwrap(), agent.pid());
            assert_eq!(who.exe, std::env::current_exe().ok());
        }
    }
}

#[test]
fn a_process_that_is_gone_at_once_is_known_all_the_same() {
    lab::require!(Root, Program("bash"));
    let (lab, cgroup) = (Lab::new("ebpf-brief"), Cgroup::new("ebpf-brief"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let script = "exec 3<>/dev/tcp/203.0.113.9/99; exec 3>&-";
    let program = app.program("bash").args(["-c", script]).cgroup(&cgroup);
    program.user(65534).run();
    let who = engine.wait_for("203.0.113.9:99".parse().unwrap()).identity;
    assert_eq!((who.uid, who.gid), (Some(65534), Some(65534)));
    assert_eq!(who.command.as_deref(), Some("bash"));
    assert_eq!(who.cgroup.as_deref(), Some(cgroup.name()));
}

#[test]
fn a_thread_with_a_name_of_its_own_is_told_and_meant_by_that_of_its_process() {
    lab::require!(Root, Program("python3"));
    let (lab, cgroup) = (Lab::new("ebpf-thread"), Cgroup::new("ebpf-thread"));
    let app = lab.host("app");
    let mut intent = of(&cgroup);
    // What the hook wrote, and nothing else.
    intent.identify = false;
    let engine = Engine::start(&app, &intent);
    connect_as("a-thread", 90, &app, &cgroup);
    let who = engine.wait_for("203.0.113.9:90".parse().unwrap()).identity;
    assert_eq!(who.command.as_deref(), Some("python3"));
    drop(engine);
    intent.scope.of.command = vec!["python3".to_owned()];
    intent.scope.except.command = vec!["a-thread".to_owned()];
    let engine = Engine::start(&app, &intent);
    connect_as("a-thread", 91, &app, &cgroup);
    engine.wait_for("203.0.113.9:91".parse().unwrap());
    drop(engine);
    intent.scope.of.command = vec!["a-thread".to_owned()];
    intent.scope.except.command.clear();
    let engine = Engine::start(&app, &intent);
    connect_as("a-thread", 92, &app, &cgroup);
    assert!(engine.came().is_empty(), "{:?}", engine.came());
}

/// Has a thread with this name connect to a port of 203.0.113.9, in a process of another one.
fn connect_as(name: &str, port: u16, app: &Host, cgroup: &Cgroup) {
    let script = format!(
        "import ctypes, socket, threading\n\
         def connect():\n\
         \x20 ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\n\
         \x20 socket.socket().connect_ex(('203.0.113.9', {port}))\n\
         thread = threading.Thread(target=connect); thread.start(); thread.join()"
    );
    let program = app.program("python3").args(["-c", &script]);
    program.cgroup(cgroup).run().expect_success();
}
