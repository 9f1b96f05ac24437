//! Flows of QUIC: their name, for rules and records.
use steer_core::policy::{Action, App, Condition, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::record::{HostFrom, Outcome};

use super::bench;
use super::program::{Program, echo, server};
use crate::bench::{Bench, closed_port, rule, soon, through};

/// Two hellos that aioquic wrote, the second one in three datagrams.
const WHOLE: &str = include_str!("../../../src/sniff/quic/hellos/v1.hex");
const SPLIT: &str = include_str!("../../../src/sniff/quic/hellos/v1-split.hex");

fn datagrams(text: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let line = |line: &str| line.as_bytes().chunks(2).map(byte).collect();
    text.lines().map(line).collect()
}

fn reject_by_name() -> Policy {
    let host = Condition {
        host: vec!["*.example".parse().unwrap()],
        app: vec![App::Quic],
        ..Condition::default()
    };
    Policy {
        rules: vec![rule("no-example", host, Action::Reject)],
        ..Policy::default()
    }
}

#[tokio::test]
async fn the_name_of_a_hello_is_recorded_and_nothing_waits_for_it() {
    let udp = steer_proxy::engine::UdpLimits {
        quic: std::time::Duration::from_millis(100),
        ..steer_proxy::engine::Limits::default().udp
    };
    let limits = steer_proxy::engine::Limits {
        udp,
        ..steer_proxy::engine::Limits::default()
    };
    let builder = steer_proxy::engine::Engine::builder(Policy::default()).limits(limits);
    let mut bench = Bench::with(builder);
    let parts = datagrams(SPLIT);
    let mut program = Program::begin(&bench, echo().await, &parts[0]).await;
    assert!(program.receive().await == parts[0]);
    for part in &parts[1..] {
        program.send(part).await;
        assert!(program.receive().await == *part);
    }
    // Its own limit ends it: that of other flows is minutes.
    let record = bench.record().await;
    assert_eq!((record.app, record.outcome), (App::Quic, Outcome::Ok));
    assert_eq!(record.host.unwrap().as_str(), "quic.example");
    assert_eq!(record.host_from, Some(HostFrom::Quic));
}

#[tokio::test]
async fn a_rule_that_asks_for_the_name_sees_that_of_a_hello_in_parts() {
    for text in [WHOLE, SPLIT] {
        let mut bench = Bench::new(reject_by_name());
        let (socket, to) = server().await;
        let parts = datagrams(text);
        let mut program = Program::begin(&bench, to, &parts[0]).await;
        for part in &parts[1..] {
            program.send(part).await;
        }
        assert_eq!(program.refused().await.0, Refusal::Denied);
        let record = bench.record().await;
        assert_eq!(record.rule.as_deref(), Some("no-example"));
        assert_eq!((record.app, record.outcome), (App::Quic, Outcome::Denied));
        assert!(socket.try_recv(&mut [0; 9]).is_err());
    }
}

#[tokio::test]
async fn what_is_held_back_for_the_rules_arrives_when_they_let_it_pass() {
    let bench = Bench::new(reject_by_name());
    let mut program = Program::begin(&bench, echo().await, b"no hello").await;
    assert_eq!(program.receive().await, b"no hello");
    // A hello that never ends is waited for no longer than the sniff limit.
    let mut program = Program::begin(&bench, echo().await, &datagrams(SPLIT)[0]).await;
    assert!(program.receive().await == datagrams(SPLIT)[0]);
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name_of_the_hello() {
    let (listener, proxy) = crate::bench::server().await;
    let bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let (_held, to) = closed_port();
    let hello = datagrams(SPLIT);
    let program = Program::begin(&bench, to, &hello[0]).await;
    program.send(&hello[1]).await;
    program.send(&hello[2]).await;
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let proxy = fast_socks5::server::Socks5ServerProtocol::accept_no_auth(stream);
    let (proxy, _, _) = soon(proxy).await.unwrap().read_command().await.unwrap();
    let (relay, at) = server().await;
    let _control = proxy.reply_success(at).await.unwrap();
    let mut room = vec![0; 2000];
    let length = soon(relay.recv(&mut room)).await.unwrap();
    assert!(
        room.starts_with(b"\0\0\0\x03\x0cquic.example"),
        "{:?}",
        &room[..20]
    );
    assert!(room[..length].ends_with(&hello[0]));
}
