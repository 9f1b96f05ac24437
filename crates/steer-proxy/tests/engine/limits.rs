//! Limits, drains and faults: what one connection costs the others.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use socket2::Socket;
use steer_core::address::Family;
use steer_core::mark::Mark;
use steer_core::policy::Policy;
use steer_core::steered::{Answer, Flow, Refusal};
use steer_proxy::engine::{Drained, Engine, Limits};
use steer_proxy::record::Outcome;
use steer_proxy::upstream::{PlainSockets, SocketFactory};

use crate::bench::{Bench, broken, server, soon};

#[tokio::test]
async fn one_connection_too_many_is_refused_and_the_next_place_is_used() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let mut bench = Bench::with(Engine::builder(Policy::default()).limits(limits));
    let (listener, address) = server().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let program = bench.program(address).await;
        held.push((program, soon(listener.accept()).await.unwrap()));
    }
    let mut third = bench.program(address).await;
    assert_eq!(broken(&mut third).await, ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert!(record.error.unwrap().contains("limit of connections"));
    assert_eq!(record.outcome, Outcome::Error);
    held.pop();
    assert_eq!(bench.record().await.outcome, Outcome::Ok);
    let _fourth = bench.program(address).await;
    soon(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn draining_lets_connections_end_and_resets_those_that_do_not() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let mut lines = Vec::new();
    for _ in 0..20 {
        let program = bench.program(address).await;
        let (server, _) = soon(listener.accept()).await.unwrap();
        lines.push((program, server));
    }
    let staying = lines.split_off(10);
    let engine = bench.engine.clone();
    let draining = tokio::spawn(async move { engine.drain(Duration::from_secs(2)).await });
    soon(bench.steered_tx.closed()).await;
    drop(lines);
    for _ in 0..10 {
        assert_eq!(bench.record().await.outcome, Outcome::Ok);
    }
    assert_eq!(soon(draining).await.unwrap(), Drained { aborted: 10 });
    for (mut program, mut server) in staying {
        assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
        assert_eq!(broken(&mut server).await, ErrorKind::ConnectionReset);
        let record = bench.record().await;
        assert_eq!(
            (record.outcome, record.error.as_deref()),
            (Outcome::Reset, Some("the engine stopped"))
        );
    }
    assert_eq!(bench.engine.live(), 0);
}

/// Has no descriptor for the first dial.
#[derive(Debug)]
struct Starved(Arc<AtomicBool>);

impl SocketFactory for Starved {
    fn tcp(&self, family: Family) -> io::Result<Socket> {
        if self.0.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(24));
        }
        PlainSockets.tcp(family)
    }

    fn udp(&self, family: Family) -> io::Result<Socket> {
        PlainSockets.udp(family)
    }

    fn mark(&self) -> Option<Mark> {
        None
    }
}

#[tokio::test]
async fn a_lack_of_descriptors_costs_one_connection_and_the_next_is_served() {
    let starved = Arc::new(AtomicBool::new(true));
    let mut bench =
        Bench::with(Engine::builder(Policy::default()).sockets(Starved(Arc::clone(&starved))));
    let (listener, address) = server().await;
    let mut first = bench.program(address).await;
    assert_eq!(broken(&mut first).await, ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Error);
    let _second = bench.program(address).await;
    soon(listener.accept()).await.unwrap();
}

/// An answer with a fault.
#[derive(Debug)]
struct Faulty;

#[async_trait]
impl Answer for Faulty {
    async fn connected(&mut self, _flow: &mut Flow) -> io::Result<()> {
        panic!("a fault of a method, made by the test")
    }

    async fn failed(self: Box<Self>, _flow: Flow, _why: Refusal) {}
}

#[tokio::test]
async fn a_fault_in_one_connection_ends_that_connection_only() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let mut faulty = bench.program_with(address, Box::new(Faulty)).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(broken(&mut faulty).await, ErrorKind::ConnectionReset);
    assert_eq!(broken(&mut server).await, ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Error);
    let _next = bench.program(address).await;
    soon(listener.accept()).await.unwrap();
    assert_eq!(bench.engine.live(), 1);
}
