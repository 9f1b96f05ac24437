//! The engine and itself: no loop, and no engine that could make one.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use steer_core::address::{ClientAddr, Destination};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::policy::{Action, Condition, Credentials, Policy, Secret, UpstreamKind};
use steer_core::steered::{Flow, Identity, Refusal, ResetAnswer, Steered};
use steer_proxy::engine::{Engine, EngineError};
use steer_proxy::record::Outcome;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::bench::{Bench, Told, broken, rule, server, soon, through};

#[tokio::test]
async fn a_destination_that_is_the_engine_itself_is_refused_in_every_spelling() {
    let own: SocketAddr = "0.0.0.0:15001".parse().unwrap();
    let mut bench = Bench::with(Engine::builder(Policy::default()).listener(own));
    for spelling in [
        "127.0.0.1:15001",
        "0.0.0.0:15001",
        "[::ffff:127.0.0.1]:15001",
        "127.9.8.7:15001",
        "localhost:15001",
    ] {
        let (told_tx, mut told) = mpsc::unbounded_channel();
        let _program = bench.program_with(spelling, Box::new(Told(told_tx))).await;
        let refusal = soon(told.recv()).await.unwrap().unwrap_err();
        // An IPv6 loopback that comes after it in the resolver's order is simply refused.
        assert!(
            refusal == Refusal::Loop || spelling == "localhost:15001",
            "{spelling}: {refusal:?}"
        );
        let outcome = bench.record().await.outcome;
        assert!(
            outcome == Outcome::Loop || spelling == "localhost:15001",
            "{spelling}: {outcome:?}"
        );
    }
}

#[test]
fn an_upstream_that_is_the_engine_itself_is_no_engine() {
    let own: SocketAddr = "127.0.0.1:15001".parse().unwrap();
    let policy = through(
        "me",
        UpstreamKind::Socks5,
        "0.0.0.0:15001".parse().unwrap(),
        None,
    );
    let error = Engine::builder(policy).listener(own).build().unwrap_err();
    assert!(matches!(error, EngineError::OwnUpstream { .. }));
    assert!(error.to_string().contains("\"me\"") && error.help().contains("another proxy"));
}

#[test]
fn a_login_that_the_upstream_could_not_be_told_is_no_engine() {
    for (kind, username, password, part) in [
        (UpstreamKind::Http, "a:b", "pw", "user name"),
        (UpstreamKind::Socks5, "", "pw", "user name"),
        (UpstreamKind::Socks5, "me", &"p".repeat(256), "password"),
    ] {
        let credentials = Credentials {
            username: username.to_owned(),
            password: Secret::Literal(password.to_owned()),
        };
        let address = "192.0.2.1:3128".parse().unwrap();
        let policy = through("corp", kind, address, Some(credentials));
        let error = Engine::builder(policy).build().unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("ppp") && error.help().contains("corp"));
    }
}

#[test]
fn a_rule_with_an_unknown_upstream_is_no_engine() {
    let rules = vec![rule(
        "r",
        Condition::default(),
        Action::Upstream("nowhere".to_owned()),
    )];
    let error = Engine::builder(Policy {
        rules,
        ..Policy::default()
    })
    .build()
    .unwrap_err();
    assert!(matches!(error, EngineError::UnknownUpstream { .. }));
    assert!(error.help().contains("nowhere"));
}

/// A listener whose connections all "wanted to go" to the listener itself, as when the bypass
/// fails and the engine's own dials are redirected back to it.
#[derive(Debug)]
struct Redirected(TcpListener);

#[async_trait]
impl Intake for Redirected {
    async fn next(&mut self) -> Option<Steered> {
        let (stream, client) = self.0.accept().await.ok()?;
        Some(Steered {
            flow: Flow::Tcp(stream),
            client: ClientAddr(client),
            destination: Destination::addr(self.0.local_addr().ok()?),
            identity: Identity::default(),
            via: Method::Redirect,
            upstream: None,
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_is_steered_back_ends_at_once() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    tokio::spawn(bench.engine.clone().serve(Box::new(Redirected(listener))));
    // The reset may be quicker than the word that the connect has succeeded.
    let error = match TcpStream::connect(address).await {
        Ok(mut program) => broken(&mut program).await,
        Err(error) => error.kind(),
    };
    assert_eq!(error, ErrorKind::ConnectionReset);
    bench.engine.drain(Duration::from_secs(20)).await;
    let accepted = bench.engine.accepted();
    assert!(accepted <= 8, "{accepted} connections");
    let mut outcomes = Vec::new();
    for _ in 0..accepted {
        outcomes.push(bench.record().await.outcome);
    }
    assert!(outcomes.contains(&Outcome::Loop), "{outcomes:?}");
}
