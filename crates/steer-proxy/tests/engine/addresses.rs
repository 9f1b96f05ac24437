//! Names with several addresses, of which the rules let some pass.
use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use steer_core::address::HostName;
use steer_core::policy::{Action, Condition, Policy, Rule, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::Engine;
use steer_proxy::record::Outcome;
use steer_proxy::upstream::Resolver;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::bench::{Bench, Told, rule, server, socks5_proxy, soon, through};

/// Every name has these addresses; without any, no name is known.
#[derive(Debug)]
struct Names(Vec<IpAddr>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, _host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let addresses = self.0.iter().map(|ip| SocketAddr::new(*ip, port));
        Ok(addresses.collect())
    }
}

fn bench(policy: Policy, addresses: &[&str]) -> Bench {
    let names = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    Bench::with(Engine::builder(policy).resolver(Names(names)))
}

fn network(name: &str, cidr: &str, action: Action) -> Rule {
    let condition = Condition {
        cidr: vec![cidr.parse().unwrap()],
        ..Condition::default()
    };
    rule(name, condition, action)
}

fn rules(rules: Vec<Rule>) -> Policy {
    Policy {
        rules,
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_network_that_is_let_pass_opens_no_way_to_the_other_addresses_of_a_name() {
    let policy = rules(vec![
        network("allowed", "127.0.0.2/32", Action::Direct),
        network("the rest", "0.0.0.0/0", Action::Reject),
    ]);
    let mut bench = bench(policy, &["127.0.0.2", "127.0.0.1"]);
    // It listens at the address that is not allowed, and nothing does at the other one.
    let (listener, address) = server().await;
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let name = format!("evil.example:{}", address.port());
    let _program = bench
        .program_with(name.as_str(), Box::new(Told(told_tx)))
        .await;
    let told = soon(told.recv()).await;
    assert_eq!(told, Some(Err(Refusal::Refused)));
    let record = bench.record().await;
    assert_eq!(record.rule.as_deref(), Some("allowed"));
    assert_eq!(record.outcome, Outcome::Refused);
    drop(listener);
}

#[tokio::test]
async fn one_rejected_address_is_enough_to_reject_a_name() {
    let policy = rules(vec![network("never", "10.0.0.0/8", Action::Reject)]);
    let mut bench = bench(policy, &["127.0.0.1", "10.0.0.5"]);
    let _program = bench.program("evil.example:80").await;
    let record = bench.record().await;
    assert_eq!(record.rule.as_deref(), Some("never"));
    assert_eq!(record.outcome, Outcome::Denied);
}

#[tokio::test]
async fn the_addresses_that_no_rule_rejects_are_tried_in_turn() {
    let policy = rules(vec![network("never", "10.0.0.0/8", Action::Reject)]);
    let bench = bench(policy, &["127.0.0.2", "127.0.0.1"]);
    let (listener, address) = server().await;
    let name = format!("fine.example:{}", address.port());
    let _program = bench.program(name.as_str()).await;
    soon(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_does_not_pass_by_a_rule_about_networks() {
    let (proxy, mut asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy
        .rules
        .insert(0, network("never", "10.0.0.0/8", Action::Reject));
    let mut bench = bench(policy, &[]);
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _program = bench
        .program_with("unknown.example:80", Box::new(Told(told_tx)))
        .await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::NoSuchHost)));
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    assert!(record.error.unwrap().contains("could not be resolved"));
    assert!(asked.try_recv().is_err(), "the proxy was asked");
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_address_that_was_let_pass() {
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy.rules = vec![
        network("lan", "192.0.2.0/24", Action::Upstream("corp".to_owned())),
        network("the rest", "0.0.0.0/0", Action::Reject),
    ];
    let bench = bench(policy, &["198.51.100.1", "192.0.2.7"]);
    let _program = bench.program("two.example:80").await;
    assert_eq!(soon(asked).await.unwrap().0, "192.0.2.7:80");
}

#[tokio::test]
async fn a_name_that_the_program_claims_does_not_replace_an_address_that_was_let_pass() {
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy
        .rules
        .insert(0, network("never", "10.0.0.0/8", Action::Reject));
    let bench = bench(policy, &[]);
    let mut program = bench.program("192.0.2.1:80").await;
    let request = b"GET / HTTP/1.1\r\nHost: internal.example\r\n\r\n";
    program.write_all(request).await.unwrap();
    assert_eq!(soon(asked).await.unwrap().0, "192.0.2.1:80");
}

#[tokio::test]
async fn the_name_goes_to_the_proxy_where_no_rule_rejects_addresses() {
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy
        .rules
        .insert(0, network("lan", "10.0.0.0/8", Action::Direct));
    let bench = bench(policy, &["192.0.2.7"]);
    let _program = bench.program("two.example:80").await;
    assert_eq!(soon(asked).await.unwrap().0, "two.example:80");
}
