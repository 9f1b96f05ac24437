//! Tokens are of the socket that got them.

use std::net::SocketAddr;

use lab::{Cgroup, Host, Lab};
use steer_core::object::is_token;

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
    // Every token that is live, as the kernel shows it to anybody, tried by a program that no hook
    // sees.
    let live = [tokens(&app, "tcp"), tokens(&app, "udp")];
    assert!(live.iter().all(|tokens| !tokens.is_empty()), "{live:?}");
    for token in live.into_iter().flatten() {
        ride(&app, token);
        if let Ok(mut rider) = app.connect(token) {
            let _ = rider.send(b"hello");
            // A send may have met the reset already.
            assert!(rider.receive(1).is_err(), "{token}");
        }
    }
    // What was sent before this has been looked at by the time that this is answered.
    engine.takes_udp(&agent, "203.0.113.8:80".parse().unwrap());
    engine.takes_tcp(&agent, "203.0.113.8:81".parse().unwrap());
    assert_eq!(engine.came().len(), known + 2, "{:?}", engine.came());
}

#[test]
fn a_token_whose_socket_is_closed_is_nobody_elses() {
    lab::require!(Root);
    let (lab, cgroup) = (Lab::new("ebpf-after"), Cgroup::new("ebpf-after"));
    let app = lab.host("app");
    let engine = Engine::start(&app, &of(&cgroup));
    let agent = agent(&app, &cgroup);
    let client = agent
        .udp_client_to("203.0.113.7:80".parse().unwrap())
        .unwrap();
    client.send(b"hello").unwrap();
    client.receive().unwrap();
    let live = tokens(&app, "udp");
    let [token] = live[..] else {
        panic!("{live:?}")
    };
    drop(client);
    let known = engine.came().len();
    ride(&app, token);
    engine.takes_udp(&agent, "203.0.113.8:80".parse().unwrap());
    assert_eq!(engine.came().len(), known + 1, "{:?}", engine.came());
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

/// Sends to a token that is somebody else's.
fn ride(host: &Host, token: SocketAddr) {
    let rider = host.udp_to(token).unwrap();
    let _ = rider.send(b"hello");
}

/// The tokens of IPv4 that sockets in a host are connected to.
fn tokens(host: &Host, protocol: &str) -> Vec<SocketAddr> {
    let table = format!("/proc/thread-self/net/{protocol}");
    let table = host.enter(|| std::fs::read_to_string(table)).unwrap();
    let peers = table.lines().skip(1).filter_map(|line| {
        let peer = line.split_whitespace().nth(2).unwrap();
        let (ip, port) = peer.split_once(':').unwrap();
        let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
        let port = u16::from_str_radix(port, 16).unwrap();
        let peer = SocketAddr::from((ip, port));
        is_token(peer.ip()).then_some(peer)
    });
    peers.collect()
}
