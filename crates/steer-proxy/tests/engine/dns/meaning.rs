//! What an address stands for: in records, rules, and for whom a proxy is asked.
use std::net::IpAddr;
use std::sync::Arc;

use steer_core::address::HostName;
use steer_core::names::{Meaning, Names};
use steer_core::policy::{Action, Condition, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::Engine;
use steer_proxy::record::{HostFrom, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::bench::{Bench, Told, rule, server, socks5_proxy, soon, through};
use crate::udp::program::Program;

/// 198.18.0.1 is made up for localhost, the rest of that network for nothing, and 127.0.0.1 was an
/// answer for dns.example.
#[derive(Debug)]
struct Book;

impl Names for Book {
    fn lookup(&self, _client: IpAddr, address: IpAddr) -> Meaning {
        let IpAddr::V4(address) = address else {
            return Meaning::Unknown;
        };
        match address.octets() {
            [198, 18, 0, 1] => Meaning::Fake(HostName::new("localhost").unwrap()),
            [198, 18, ..] => Meaning::Dead,
            [127, 0, 0, 1] => Meaning::Answered(HostName::new("dns.example").unwrap()),
            _ => Meaning::Unknown,
        }
    }
}

fn bench(policy: Policy) -> Bench {
    Bench::with(Engine::builder(policy).names(Arc::new(Book)))
}

fn by_name(name: &str, action: Action) -> Policy {
    let host = Condition {
        host: vec![name.parse().unwrap()],
        ..Condition::default()
    };
    Policy {
        rules: vec![rule("by-name", host, action)],
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_made_up_address_goes_to_its_name_and_is_recorded_as_asked_for() {
    let mut bench = bench(Policy::default());
    let (listener, address) = server().await;
    let made_up = format!("198.18.0.1:{}", address.port());
    let program = bench.program(made_up.as_str()).await;
    let (server, _) = soon(listener.accept()).await.unwrap();
    drop((program, server));
    let record = bench.record().await;
    assert_eq!(record.destination, made_up);
    assert_eq!(record.host.unwrap().as_str(), "localhost");
    assert_eq!(
        (record.host_from, record.outcome),
        (Some(HostFrom::FakeIp), Outcome::Ok)
    );
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name_of_a_made_up_address() {
    let (proxy, asked) = socks5_proxy().await;
    let bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let _program = bench.program("198.18.0.1:443").await;
    assert_eq!(soon(asked).await.unwrap().0, "localhost:443");
}

#[tokio::test]
async fn a_made_up_address_without_a_name_is_never_dialled() {
    let mut bench = bench(Policy::default());
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _program = bench
        .program_with("198.18.7.7:443", Box::new(Told(told_tx)))
        .await;
    assert_eq!(soon(told.recv()).await.unwrap(), Err(Refusal::Denied));
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Denied, "none")
    );
    let to = "198.18.7.7:443".parse::<std::net::SocketAddr>().unwrap();
    let mut program = Program::begin(&bench, to, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Denied);
}

#[tokio::test]
async fn a_rule_goes_by_the_answer_before_the_client_says_a_word() {
    let mut bench = bench(by_name("dns.example", Action::Reject));
    let (_listener, address) = server().await;
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _program = bench.program_with(address, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await.unwrap(), Err(Refusal::Denied));
    let record = bench.record().await;
    assert_eq!(record.host.unwrap().as_str(), "dns.example");
    assert_eq!(
        (record.host_from, record.outcome),
        (Some(HostFrom::Dns), Outcome::Denied)
    );
}

#[tokio::test]
async fn a_name_that_the_client_claims_does_not_hide_the_answer() {
    let mut bench = bench(by_name("claimed.example", Action::Reject));
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    let (server, _) = soon(listener.accept()).await.unwrap();
    let head = b"GET / HTTP/1.1\r\nHost: claimed.example\r\n\r\n";
    program.write_all(head).await.unwrap();
    program.shutdown().await.unwrap();
    drop(server);
    drop(program);
    let record = bench.record().await;
    assert_eq!(record.host.unwrap().as_str(), "dns.example");
    assert_eq!((record.host_from, record.rule), (Some(HostFrom::Dns), None));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name_that_the_rules_went_by() {
    let (proxy, asked) = socks5_proxy().await;
    let bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let mut program = bench.program("127.0.0.1:443").await;
    let head = b"GET / HTTP/1.1\r\nHost: claimed.example\r\n\r\n";
    program.write_all(head).await.unwrap();
    assert_eq!(soon(asked).await.unwrap().0, "dns.example:443");
}
