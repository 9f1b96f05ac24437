//! Who asked, told by the hook.

use std::net::SocketAddr;

use lab::{Cgroup, Lab};

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
