//! When the first bytes of a client are waited for, and how long.
use std::io::ErrorKind;
use std::time::Duration;

use steer_core::policy::{Action, App, Condition, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, Limits};
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bench::{Bench, Told, broken, closed_port, rule, server, socks5_proxy, soon, through};

fn internal() -> Condition {
    Condition {
        host: vec!["*.internal".parse().unwrap()],
        ..Condition::default()
    }
}

/// An engine with one rule about names, that waits for first bytes as long as it is told.
fn bench(action: Action, sniff: Duration) -> Bench {
    let policy = Policy {
        rules: vec![rule("by name", internal(), action)],
        ..Policy::default()
    };
    patient(policy, sniff)
}

fn patient(policy: Policy, sniff: Duration) -> Bench {
    let limits = Limits {
        sniff,
        ..Limits::default()
    };
    Bench::with(Engine::builder(policy).limits(limits))
}

/// Longer than any test runs: whoever waits for it fails.
const FOREVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_server_speaks_first_where_every_rule_about_names_leads_direct() {
    let mut bench = bench(Action::Direct, FOREVER);
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    server.write_all(b"220 hello\r\n").await.unwrap();
    let mut banner = [0; 11];
    soon(program.read_exact(&mut banner)).await.unwrap();
    // The record names the rule that the client's bytes tell, late as they are.
    let request = b"GET / HTTP/1.1\r\nHost: a.internal\r\n\r\n";
    program.write_all(request).await.unwrap();
    let mut heard = vec![0; request.len()];
    soon(server.read_exact(&mut heard)).await.unwrap();
    drop((program, server));
    let record = bench.record().await;
    assert_eq!(record.rule.as_deref(), Some("by name"));
    assert_eq!(
        (record.upstream.as_str(), record.app),
        ("direct", App::Http1)
    );
}

#[tokio::test]
async fn a_client_learns_of_a_failed_dial_where_no_first_bytes_were_waited_for() {
    let bench = bench(Action::Direct, FOREVER);
    let (_held, closed) = closed_port();
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _program = bench.program_with(closed, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::Refused)));
}

#[tokio::test]
async fn a_client_that_ends_without_a_word_is_waited_for_no_longer() {
    let mut bench = bench(Action::Reject, FOREVER);
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    program.shutdown().await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(soon(server.read(&mut [0])).await.unwrap(), 0);
    server.write_all(b"bye").await.unwrap();
    drop(server);
    let mut said = String::new();
    soon(program.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "bye");
    let record = bench.record().await;
    assert_eq!((record.rule, record.outcome), (None, Outcome::Ok));
}

#[tokio::test]
async fn a_client_of_one_byte_goes_on_after_the_sniff_limit() {
    // The first byte of a TLS record, which is not enough to tell.
    let bench = bench(Action::Reject, Duration::from_millis(50));
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    program.write_all(&[0x16]).await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    let mut byte = [0];
    soon(server.read_exact(&mut byte)).await.unwrap();
    assert_eq!(byte, [0x16]);
    server.write_all(b"banner").await.unwrap();
    let mut banner = [0; 6];
    soon(program.read_exact(&mut banner)).await.unwrap();
}

#[tokio::test]
async fn a_destination_that_may_be_rejected_is_not_dialled_before_the_name_is_known() {
    let mut bench = bench(Action::Reject, FOREVER);
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    program
        .write_all(b"GET / HTTP/1.1\r\nHost: a.internal\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Denied);
    // The next that arrives is the test's own.
    let own = tokio::net::TcpStream::connect(address).await.unwrap();
    let (_, first) = soon(listener.accept()).await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_waited_for_once_though_the_rules_and_the_proxy_both_want_its_name() {
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy
        .rules
        .insert(0, rule("by name", internal(), Action::Reject));
    let sniff = Duration::from_secs(4);
    let bench = patient(policy, sniff);
    // The clock stands unless everybody waits, so it counts the waits alone.
    let start = Instant::now();
    let _program = bench.program("192.0.2.1:25").await;
    let (target, _server) = asked.await.unwrap();
    assert_eq!(target, "192.0.2.1:25");
    let waited = start.elapsed();
    assert!((sniff..sniff * 2).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn a_client_that_is_cut_off_before_it_spoke_is_reset() {
    let mut bench = bench(Action::Reject, FOREVER);
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let mut program = bench
        .program_with("192.0.2.1:80", Box::new(Told(told_tx)))
        .await;
    // It is told so when its first bytes are waited for.
    assert_eq!(soon(told.recv()).await, Some(Ok(())));
    assert_eq!(bench.engine.drain(Duration::ZERO).await.aborted, 1);
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Reset);
}
