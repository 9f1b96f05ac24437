//! Connections that are dialled from where their program is.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use socket2::Socket;
use steer_core::address::{ClientAddr, Destination, Family};
use steer_core::mark::Mark;
use steer_core::netns::{Inside, MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_core::policy::{App, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, EngineBuilder};
use steer_proxy::record::Outcome;
use steer_proxy::upstream::SocketFactory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, broken, server, socks5_proxy, soon, through};
use crate::dialling::{elsewhere, may};
use crate::udp::program::{Program, bring, echo, server as datagram_server};

/// The mark of the engine's sockets. What makes them here does not set it, which needs privilege.
const MARK: Mark = Mark::BYPASS;

/// Sockets of the engine's own, of which there are none.
#[derive(Debug)]
struct Nowhere;

impl SocketFactory for Nowhere {
    fn tcp(&self, _family: Family) -> io::Result<Socket> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }

    fn udp(&self, _family: Family) -> io::Result<Socket> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }

    fn mark(&self) -> Option<Mark> {
        Some(MARK)
    }
}

/// Makes sockets here, and notes what was asked for.
#[derive(Debug, Default)]
struct Noted(Mutex<Vec<SocketWish>>);

impl MakeSockets for Noted {
    fn make(&self, wanted: &SocketWish) -> io::Result<OwnedFd> {
        self.0.lock().unwrap().push(wanted.clone());
        let unmarked = SocketWish {
            mark: None,
            ..wanted.clone()
        };
        unmarked.open()
    }
}

impl Noted {
    /// What was asked for since the last time.
    fn take(&self) -> Vec<SocketKind> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap());
        for SocketWish {
            family,
            binding,
            mark,
            bind,
            ..
        } in &taken
        {
            assert_eq!((*family, *binding), (Family::V4, Binding::Own));
            assert_eq!((*mark, *bind), (Some(MARK), None));
        }
        taken.into_iter().map(|wish| wish.kind).collect()
    }
}

fn builder(policy: Policy) -> EngineBuilder {
    Engine::builder(policy).sockets(Nowhere)
}

/// An engine without sockets of its own, and what makes those of its connections.
fn bench(policy: Policy) -> (Bench, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let inside = Arc::clone(&noted);
    (Bench::with(builder(policy)).inside(inside), noted)
}

#[tokio::test]
async fn a_destination_is_dialled_from_where_the_program_is() {
    let (mut bench, noted) = bench(Policy::default());
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    program.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    soon(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"hello");
    drop((program, server));
    assert_eq!(bench.record().await.upstream, "direct");
    assert_eq!(noted.take(), [SocketKind::Stream]);
}

#[tokio::test]
async fn a_connection_from_where_the_engine_is_has_the_engine_s_sockets() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (_listener, address) = server().await;
    let mut program = bench.program(address).await;
    broken(&mut program).await;
    assert_eq!(bench.record().await.outcome, Outcome::Error);
}

#[tokio::test]
async fn datagrams_go_from_where_the_program_is() {
    let (bench, noted) = bench(Policy::default());
    let mut program = Program::begin(&bench, echo().await, b"x").await;
    assert_eq!(program.receive().await, b"x");
    assert_eq!(noted.take(), [SocketKind::Datagram]);
}

/// Who has `a.bc`?
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";

#[tokio::test]
async fn a_resolver_is_asked_from_where_the_program_is_by_either_transport() {
    let (bench, noted) = bench(Policy::default());
    let (socket, address) = datagram_server().await;
    let mut program = Program::bound().await;
    let client = ClientAddr(program.address());
    let to = Destination::addr(address);
    bring(&bench, &mut program, client, to, QUERY, Some(App::Dns));
    let mut answer = [0; 64];
    let (length, from) = soon(socket.recv_from(&mut answer)).await.unwrap();
    assert_eq!(&answer[..length], QUERY);
    answer[2] |= 0x80;
    socket.send_to(&answer[..length], from).await.unwrap();
    assert_eq!(program.receive().await, &answer[..length]);
    assert_eq!(noted.take(), [SocketKind::Datagram]);

    let (listener, address) = server().await;
    let mut program = bench.dns_program(address).await;
    let framed = [&[0, u8::try_from(QUERY.len()).unwrap()], QUERY].concat();
    program.write_all(&framed).await.unwrap();
    let (mut resolver, _) = soon(listener.accept()).await.unwrap();
    let mut heard = vec![0; framed.len()];
    soon(resolver.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, framed);
    assert_eq!(noted.take(), [SocketKind::Stream]);
}

#[tokio::test]
async fn a_proxy_is_asked_from_where_the_program_is() {
    let (proxy, asked) = socks5_proxy().await;
    let (bench, noted) = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let _program = bench.program("name.example:80").await;
    let (target, _server) = soon(asked).await.unwrap();
    assert_eq!(target, "name.example:80");
    assert_eq!(noted.take(), [SocketKind::Stream]);
}

#[tokio::test]
async fn the_engine_s_resolver_finds_the_addresses_that_are_dialled_there() {
    let (bench, noted) = bench(Policy::default());
    let (listener, address) = server().await;
    let name = format!("localhost:{}", address.port());
    let _program = bench.program(name.as_str()).await;
    soon(listener.accept()).await.unwrap();
    // The resolver's order may have the IPv6 address first.
    let mut wishes = noted.0.lock().unwrap();
    wishes.retain(|wish| wish.family == Family::V4);
    drop(wishes);
    assert_eq!(noted.take(), [SocketKind::Stream]);
}

#[tokio::test]
async fn whoever_makes_no_more_sockets_fails_the_dial_and_nothing_else() {
    #[derive(Debug)]
    struct Gone;

    impl MakeSockets for Gone {
        fn make(&self, _wanted: &SocketWish) -> io::Result<OwnedFd> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    let mut bench = Bench::new(Policy::default()).inside(Arc::new(Gone));
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    broken(&mut program).await;
    assert_eq!(bench.record().await.outcome, Outcome::Error);
    // One from where the engine is has its own.
    bench.inside = None;
    let _program = bench.program(address).await;
    soon(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn the_engine_is_not_dialled_from_elsewhere_either() {
    let own: SocketAddr = "0.0.0.0:15001".parse().unwrap();
    let noted = Arc::new(Noted::default());
    let engine = builder(Policy::default()).listener(own);
    let mut bench = Bench::with(engine).inside(Arc::clone(&noted) as _);
    let mut program = bench.program("127.9.8.7:15001").await;
    broken(&mut program).await;
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
    let mut program = Program::begin(&bench, own, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Loop);
    assert_eq!(noted.take(), []);
}

#[tokio::test]
async fn programs_of_two_namespaces_reach_each_their_own_servers() {
    if !may("making a network namespace") {
        return;
    }
    let (here, there) = (elsewhere(), elsewhere());
    let bench = Bench::new(Policy::default());
    let inside = |netns| Arc::new(Inside::of(netns).unwrap()) as Arc<dyn MakeSockets>;
    let mut bench = bench.inside(inside(&here.0));
    for (netns, address) in [&here, &there] {
        bench.inside = Some(inside(netns));
        let mut program = bench.program(*address).await;
        program.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        soon(program.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"hello");
        let mut program = Program::begin(&bench, *address, b"x").await;
        assert_eq!(program.receive().await, b"x");
    }
}

#[tokio::test]
async fn an_address_is_the_engine_s_where_the_dial_would_start() {
    if !may("making a network namespace") {
        return;
    }
    let (netns, _) = elsewhere();
    let inside = Inside::of(&netns).unwrap();
    let added = inside.run(|| {
        let mut add = std::process::Command::new("ip");
        add.args(["addr", "add", "198.51.100.1/32", "dev", "lo"])
            .status()
    });
    assert!(added.unwrap().unwrap().success());
    let own: SocketAddr = "0.0.0.0:15001".parse().unwrap();
    let engine = Engine::builder(Policy::default()).listener(own);
    let mut bench = Bench::with(engine).inside(Arc::new(inside));
    let mut program = bench.program("198.51.100.1:15001").await;
    broken(&mut program).await;
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
}
