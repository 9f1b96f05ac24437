//! Upstreams at several places, their checks and their bounds.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use socket2::Socket;
use steer_core::address::{Destination, Family, HostName};
use steer_core::policy::{Health, Policy, Resolving, Upstream, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, Limits};
use steer_proxy::upstream::{PlainSockets, Resolver, SocketFactory, UpstreamState};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::stage::{Stage, all_through, echo, exchange, upstream};
use crate::bench::{Bench, Told, closed_port, server, soon};

/// An address that answers no SYN for as long as this lives: its queue is full.
struct Hole {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Hole {
    fn new() -> Self {
        let listener = PlainSockets.tcp(Family::V4).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let socket = PlainSockets.tcp(Family::V4).unwrap();
            // One is queued, the others wait for as long as they live.
            let _ = socket.connect(&address.into());
            sockets.push(socket);
        }
        Self {
            address,
            _sockets: sockets,
        }
    }
}

/// Limits by which nobody who waits for a silent address is helped by the engine's deadline.
fn patient() -> Limits {
    Limits {
        connect: Duration::from_secs(7200),
        ..Limits::default()
    }
}

fn many(first: SocketAddr, second: SocketAddr) -> Upstream {
    Upstream {
        endpoints: vec![Destination::addr(second)],
        ..upstream("corp", UpstreamKind::Socks5, first)
    }
}

fn ups(state: &UpstreamState) -> Vec<bool> {
    state.endpoints.iter().map(|endpoint| endpoint.up).collect()
}

/// Waits until the only upstream's endpoints stand like this.
async fn until(engine: &Engine, wanted: &[bool]) {
    soon(async {
        while ups(&engine.upstreams()[0]) != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_followed_by_the_next_and_then_left_alone() {
    let (_kept, nobody) = closed_port();
    let proxy = Stage::new(UpstreamKind::Socks5, None).await;
    let bench = Bench::new(all_through(vec![many(nobody, proxy.address)]));
    for _ in 0..3 {
        let program = bench.program(echo().await).await;
        assert_eq!(exchange(program, b"x").await, b"x");
    }
    let state = &bench.engine.upstreams()[0];
    assert_eq!(ups(state), [false, true]);
    assert_eq!(state.endpoints[0].failures, 1, "it was tried once");
    assert_eq!(state.carried, 3);
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_when_it_is_asked_is_followed_by_the_next() {
    let (listener, broken) = server().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read_u8().await;
        }
    });
    let proxy = Stage::new(UpstreamKind::Socks5, None).await;
    let bench = Bench::new(all_through(vec![many(broken, proxy.address)]));
    let program = bench.program(echo().await).await;
    assert_eq!(exchange(program, b"x").await, b"x");
    assert_eq!(ups(&bench.engine.upstreams()[0]), [false, true]);
}

#[tokio::test]
async fn what_a_proxy_says_of_a_destination_is_not_held_against_it() {
    let proxy = Stage::new(UpstreamKind::Socks5, None).await;
    let (_kept, nobody) = closed_port();
    let bench = Bench::new(all_through(vec![many(proxy.address, proxy.address)]));
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _program = bench.program_with(nobody, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::Refused)));
    let state = &bench.engine.upstreams()[0];
    assert_eq!(
        (ups(state), state.endpoints[0].failures),
        (vec![true, true], 0)
    );
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_after_its_own_time() {
    let hole = Hole::new();
    let proxy = Stage::new(UpstreamKind::Socks5, None).await;
    let mut corp = many(hole.address, proxy.address);
    corp.limits.connect = Some(Duration::from_millis(100));
    let bench = Bench::with(Engine::builder(all_through(vec![corp])).limits(patient()));
    let program = bench.program(echo().await).await;
    assert_eq!(exchange(program, b"x").await, b"x");
}

fn checked(first: SocketAddr) -> Policy {
    let mut corp = upstream("corp", UpstreamKind::Socks5, first);
    corp.health = Some(Health {
        interval: Duration::from_millis(10),
        fall: 2,
        rise: 2,
        timeout: Duration::from_secs(10),
    });
    all_through(vec![corp])
}

#[tokio::test]
async fn checks_notice_when_a_proxy_goes_and_when_it_comes_back() {
    let (socket, address) = closed_port();
    let bench = Bench::new(checked(address));
    until(&bench.engine, &[false]).await;
    // The state outlives a change that leaves the upstream as it is.
    let change = bench.engine.prepare(checked(address)).unwrap();
    drop(bench.engine.change(change));
    let state = &bench.engine.upstreams()[0];
    assert_eq!(ups(state), [false]);
    assert!(state.endpoints[0].failures >= 2);
    socket.listen(16).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    // One that accepts and says nothing is no proxy; one that greets is.
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut greeting = [0; 3];
    soon(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(greeting, [5, 1, 0]);
    assert_eq!(ups(&bench.engine.upstreams()[0]), [false]);
    drop(stream);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = fast_socks5::server::Socks5ServerProtocol::accept_no_auth(stream).await;
            drop(proxy);
        }
    });
    until(&bench.engine, &[true]).await;
    // Another policy has no use for the checks.
    let change = bench.engine.prepare(Policy::default()).unwrap();
    drop(bench.engine.change(change));
    assert!(bench.engine.upstreams().is_empty());
}

#[tokio::test]
async fn more_connections_than_an_upstream_may_have_are_refused() {
    let proxy = Stage::new(UpstreamKind::Http, None).await;
    let mut corp = upstream("corp", UpstreamKind::Http, proxy.address);
    corp.limits.connections = Some(1);
    let mut bench = Bench::new(all_through(vec![corp]));
    let to = echo().await;
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let first = bench
        .program_with(to, Box::new(Told(told_tx.clone())))
        .await;
    assert_eq!(soon(told.recv()).await, Some(Ok(())));
    let _second = bench
        .program_with(to, Box::new(Told(told_tx.clone())))
        .await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::Busy)));
    let error = bench.record().await.error.unwrap();
    assert!(error.contains("\"corp\""), "{error}");
    assert_eq!(exchange(first, b"x").await, b"x");
    bench.record().await;
    let third = bench.program_with(to, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await, Some(Ok(())));
    assert_eq!(exchange(third, b"y").await, b"y");
    let state = &bench.engine.upstreams()[0];
    assert_eq!((state.carried, state.refused), (2, 1));
}

/// Every name has these addresses, whatever the port.
#[derive(Debug)]
struct Names(Vec<SocketAddr>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, _host: &HostName, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_to_resolve_is_asked_for_addresses() {
    let (_kept, nobody) = closed_port();
    let to = echo().await;
    for kind in [UpstreamKind::Socks5, UpstreamKind::Http] {
        let mut proxy = Stage::new(kind, None).await;
        let mut corp = upstream("corp", kind, proxy.address);
        corp.resolve = Resolving::Here;
        let builder = Engine::builder(all_through(vec![corp]));
        let bench = Bench::with(builder.resolver(Names(vec![nobody, to])));
        let program = bench.program("a.example:80").await;
        assert_eq!(exchange(program, b"x").await, b"x");
        assert_eq!(proxy.asked().await, nobody.to_string());
        assert_eq!(proxy.asked().await, to.to_string());
    }
}

#[tokio::test]
async fn an_address_that_is_silent_holds_up_no_other_one_of_the_name() {
    let hole = Hole::new();
    let to = echo().await;
    let builder = Engine::builder(Policy::default()).limits(patient());
    let bench = Bench::with(builder.resolver(Names(vec![hole.address, to])));
    let program: TcpStream = bench.program("a.example:80").await;
    assert_eq!(exchange(program, b"x").await, b"x");
}
