//! Tokens are of the socket that got them.

use std::net::{IpAddr, SocketAddr};

use lab::{Cgroup, Lab};

use crate::engine::{Engine, agent, of};

#[test]
fn another_process_cannot_use_a_live_token() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-ride"), Cgroup::new("ebpf-ride"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    let to: SocketAddr = "203.0.113.7:80".parse().unwrap();
    let datagrams = agent.udp_client_to(to).unwrap();
    datagrams.send(b"hello").unwrap();
    datagrams.receive().unwrap();
    let mut stream = agent.connect(to).unwrap();
    stream.send(b"hello").unwrap();
    stream.receive(12).unwrap();
    let known = engine.came().len();
    // Every token that can be live, tried by a program that no hook sees.
    let ports = listening(&app);
    assert!(!ports.is_empty(), "the engine listens");
    for number in 1..=4_u8 {
        for port in &ports {
            let token = SocketAddr::new(IpAddr::from([127, 128, 0, number]), *port);
            let rider = app.udp_to(token).unwrap();
            let _ = rider.send(b"hello");
            if let Ok(mut rider) = app.connect(token) {
                let _ = rider.send(b"hello");
                // A send may have met the reset already.
                assert!(rider.receive(1).is_err(), "{token}");
            }
        }
    }
    // What was sent before this has been looked at by the time that this is answered.
    engine.takes_udp(&agent, "203.0.113.8:80".parse().unwrap());
    engine.takes_tcp(&agent, "203.0.113.8:81".parse().unwrap());
    assert_eq!(engine.came().len(), known + 2, "{:?}", engine.came());
}

#[test]
fn sockets_that_share_a_port_are_each_heard() {
    lab::require!(Root, Program("python3"));
    let (lab, cgroup) = (Lab::new("ebpf-group"), Cgroup::new("ebpf-group"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    // Of a group the kernel tells one by its hash: of eight there are others.
    let script = "
import select, socket
port = 0
group = []
for number in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('0.0.0.0', port))
    port = s.getsockname()[1]
    group.append(s)
for number, s in enumerate(group):
    s.sendto(b'hello', ('203.0.113.7', 1000 + number))
for answer in group:
    for s in select.select(group, [], [], 10)[0][:1]:
        s.recv(100)
";
    let program = app.program("python3").args(["-c", script]);
    program.cgroup(&cgroup).run();
    for number in 0..8 {
        engine.wait_for(SocketAddr::from(([203, 0, 113, 7], 1000 + number)));
    }
}

/// The ports at which something in the host waits for IPv4.
fn listening(host: &lab::Host) -> Vec<u16> {
    let tables = host.enter(|| {
        ["tcp", "udp"].map(|of| std::fs::read_to_string(format!("/proc/thread-self/net/{of}")))
    });
    let mut ports = Vec::new();
    for table in tables {
        for line in table.unwrap().lines().skip(1) {
            let local = line.split_whitespace().nth(1).unwrap();
            if let Some(port) = local.strip_prefix("00000000:") {
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
