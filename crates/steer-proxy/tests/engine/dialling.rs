//! From where the engine dials: another namespace, or the client's own address.
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use steer_core::address::{ClientAddr, Destination};
use steer_core::intent::Source;
use steer_core::netns::Inside;
use steer_core::plan::Netns;
use steer_core::policy::Policy;
use steer_core::steered::Refusal;
use steer_proxy::engine::Engine;
use steer_proxy::record::Outcome;
use steer_proxy::upstream::{InsideSockets, PlainSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, broken, soon};
use crate::udp::program::{Program, steer};

pub(crate) fn may(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} needs to be root");
    }
    root
}

/// A namespace of its own with servers that echo, for as long as this process lives.
pub(crate) fn elsewhere() -> (Netns, SocketAddr) {
    let (ready_tx, ready) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let mut up = Command::new("ip");
        let up = up.args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let path = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
        let address = tcp.local_addr().unwrap();
        ready_tx.send((Netns::Path(path), address)).unwrap();
        thread::spawn(move || {
            let mut room = [0; 64];
            while let Ok((length, from)) = udp.recv_from(&mut room) {
                udp.send_to(&room[..length], from).unwrap();
            }
        });
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut room = [0; 5];
            stream.read_exact(&mut room).unwrap();
            stream.write_all(&room).unwrap();
        }
    });
    ready.recv().unwrap()
}

#[tokio::test]
async fn sockets_of_another_namespace_reach_what_is_there() {
    if !may("making a network namespace") {
        return;
    }
    let (netns, address) = elsewhere();
    let outside = Bench::new(Policy::default());
    let mut program = outside.program(address).await;
    broken(&mut program).await;
    let mut program = Program::begin(&outside, address, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Refused);
    let sockets = InsideSockets::new(Inside::of(&netns).unwrap(), PlainSockets);
    let inside = Bench::with(Engine::builder(Policy::default()).sockets(sockets));
    let mut program = inside.program(address).await;
    program.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    soon(program.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"hello");
    let mut program = Program::begin(&inside, address, b"x").await;
    assert_eq!(program.receive().await, b"x");
}

/// A namespace from which 198.51.100.0/24 is behind a router that knows no way there.
fn behind_a_router() -> (Netns, Router) {
    let (ready_tx, ready) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let router = Command::new("unshare").args(["-n", "sleep", "60"]).spawn();
        let router = Router(router.unwrap());
        let pid = router.0.id();
        let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
        let there = format!("/proc/{pid}/ns/net");
        // It starts in this thread's namespace.
        while std::fs::read_link(&there).is_ok_and(|there| there == here || there == outside) {
            thread::yield_now();
        }
        let script = format!(
            "set -e; ip link set lo up; ip link add v0 type veth peer name v1 netns {pid}
             ip addr add 10.9.0.2/24 dev v0; ip link set v0 up
             nsenter -t {pid} -n sh -ec '
                 ip addr add 10.9.0.1/24 dev v1; ip link set v1 up
                 sysctl -qw net.ipv4.ip_forward=1
                 ip route add unreachable 198.51.100.0/24'
             ip route add default via 10.9.0.1"
        );
        let done = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(done.success());
        let path = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
        ready_tx.send((Netns::Path(path), router)).unwrap();
        loop {
            thread::park();
        }
    });
    ready.recv().unwrap()
}

/// The process that holds the router's namespace.
struct Router(std::process::Child);

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn what_a_router_says_of_a_host_is_told_to_the_program() {
    if !may("making network namespaces") {
        return;
    }
    let (netns, _router) = behind_a_router();
    let sockets = InsideSockets::new(Inside::of(&netns).unwrap(), PlainSockets);
    let mut bench = Bench::with(Engine::builder(Policy::default()).sockets(sockets));
    let to: SocketAddr = "198.51.100.7:9".parse().unwrap();
    let mut program = Program::begin(&bench, to, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::HostUnreachable);
    let record = bench.record().await;
    assert_eq!((record.outcome, record.sent), (Outcome::Error, Some(1)));
}

#[tokio::test]
async fn a_server_sees_the_address_of_the_client_where_that_is_asked_for() {
    if !may("taking another address") {
        return;
    }
    let bench = || Bench::with(Engine::builder(Policy::default()).source(Source::Client));
    let client: SocketAddr = "127.0.0.9:4000".parse().unwrap();
    let (listener, address) = crate::bench::server().await;
    let mut tcp = bench();
    let program = tcp.program_from(client, address).await;
    let (stream, from) = soon(listener.accept()).await.unwrap();
    assert_eq!(from.ip(), client.ip());
    drop((stream, program));
    assert_eq!(tcp.record().await.client, client.to_string());
    let (socket, address) = crate::udp::program::server().await;
    let mut program = Program::bound().await;
    let udp = bench();
    steer(
        &udp,
        &mut program,
        ClientAddr(client),
        Destination::addr(address),
        b"x",
    );
    let (_, from) = soon(socket.recv_from(&mut [0; 9])).await.unwrap();
    assert_eq!(from.ip(), client.ip());
    socket.send_to(b"back", from).await.unwrap();
    assert_eq!(program.receive().await, b"back");
}

#[tokio::test]
async fn an_address_of_the_other_family_is_not_reached_from_another_source() {
    if !may("taking another address") {
        return;
    }
    let mut bench = Bench::with(Engine::builder(Policy::default()).source(Source::Client));
    let client = "127.0.0.9:4000".parse().unwrap();
    let _program = bench.program_from(client, "[::1]:443").await;
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    assert!(
        record
            .error
            .unwrap()
            .contains("from the client's address 127.0.0.9")
    );
}
