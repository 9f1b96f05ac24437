//! The engine between programs, servers and proxies, fed by an intake of the test's own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod addresses;
mod bench;
mod sniffing;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use socket2::Socket;
use steer_core::address::{ClientAddr, Destination, Family};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::policy::{Action, App, Condition, Credentials, Policy, Secret, UpstreamKind};
use steer_core::steered::{Answer, Flow, Identity, Refusal, ResetAnswer, Steered};
use steer_proxy::engine::{Drained, Engine, EngineError, Limits};
use steer_proxy::record::{HostFrom, Outcome};
use steer_proxy::upstream::{PlainSockets, SocketFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::bench::{Bench, Told, broken, closed_port, rule, server, socks5_proxy, soon, through};

#[tokio::test]
async fn a_connection_that_no_rule_matches_goes_to_its_destination() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    program.write_all(request).await.unwrap();
    program.shutdown().await.unwrap();
    let mut asked = Vec::new();
    soon(server.read_to_end(&mut asked)).await.unwrap();
    assert_eq!(asked, request);
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = String::new();
    soon(program.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "answer");
    let client = program.local_addr().unwrap().to_string();
    let record = bench.record().await;
    assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
    assert_eq!(
        (record.client, record.destination),
        (client, address.to_string())
    );
    assert_eq!(
        (record.sent, record.received),
        (Some(request.len() as u64), Some(6))
    );
    assert_eq!(record.host.unwrap().as_str(), "a.example");
    assert_eq!(
        (record.host_from, record.app),
        (Some(HostFrom::Http), App::Http1)
    );
    assert_eq!((record.rule, record.upstream.as_str()), (None, "direct"));
    assert_eq!((record.pid, record.uid), (Some(7), Some(1000)));
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_before_the_client_says_a_word() {
    let bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    server.write_all(b"220 hello\r\n").await.unwrap();
    let mut banner = [0; 11];
    soon(program.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 hello\r\n");
}

#[tokio::test]
async fn a_name_is_resolved_and_recorded_as_asked_for() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let program = bench
        .program(format!("localhost:{}", address.port()).as_str())
        .await;
    let (server, _) = soon(listener.accept()).await.unwrap();
    drop((program, server));
    let record = bench.record().await;
    assert_eq!(record.destination, format!("localhost:{}", address.port()));
    assert_eq!(
        (record.host.unwrap().as_str(), record.host_from),
        ("localhost", Some(HostFrom::Connect))
    );
    assert_eq!((record.outcome, record.app), (Outcome::Ok, App::Opaque));
}

#[tokio::test]
async fn a_rejected_connection_is_reset_and_recorded_as_denied() {
    let condition = Condition {
        port: vec!["443".parse().unwrap()],
        ..Condition::default()
    };
    let rules = vec![rule("no-tls", condition, Action::Reject)];
    let mut bench = Bench::new(Policy {
        rules,
        ..Policy::default()
    });
    let mut program = bench.program("192.0.2.1:443").await;
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Denied, "none")
    );
    assert_eq!(record.rule.as_deref(), Some("no-tls"));
}

#[tokio::test]
async fn a_rule_about_names_sees_the_name_in_the_first_bytes() {
    let condition = Condition {
        host: vec!["*.blocked.example".parse().unwrap()],
        ..Condition::default()
    };
    let rules = vec![rule("blocked", condition, Action::Reject)];
    let mut bench = Bench::new(Policy {
        rules,
        ..Policy::default()
    });
    let (listener, address) = server().await;
    for (host, outcome) in [
        ("a.blocked.example", Outcome::Denied),
        ("fine.example", Outcome::Ok),
    ] {
        let mut program = bench.program(address).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        program.write_all(request.as_bytes()).await.unwrap();
        if outcome == Outcome::Ok {
            let (mut server, _) = soon(listener.accept()).await.unwrap();
            let mut heard = vec![0; request.len()];
            soon(server.read_exact(&mut heard)).await.unwrap();
            assert_eq!(heard, request.as_bytes());
            drop(program);
        } else {
            assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
        }
        let record = bench.record().await;
        assert_eq!(
            (record.outcome, record.host.unwrap().as_str()),
            (outcome, host)
        );
    }
}

#[tokio::test]
async fn the_sniffed_name_goes_to_the_proxy_instead_of_the_address() {
    let (proxy, asked) = socks5_proxy().await;
    let mut bench = Bench::new(through("corp", UpstreamKind::Socks5, proxy, None));
    let mut program = bench.program("192.0.2.1:8080").await;
    let request = b"GET / HTTP/1.1\r\nHost: Name.Example:8080\r\n\r\n";
    program.write_all(request).await.unwrap();
    let (target, mut server) = soon(asked).await.unwrap();
    assert_eq!(target, "name.example:8080");
    let mut heard = vec![0; request.len()];
    soon(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, request);
    drop((program, server));
    let record = bench.record().await;
    assert_eq!(
        (record.destination.as_str(), record.upstream.as_str()),
        ("192.0.2.1:8080", "corp")
    );
    assert_eq!(record.rule.as_deref(), Some("all"));
}

#[tokio::test]
async fn a_silent_client_does_not_keep_a_server_behind_a_proxy_from_speaking_first() {
    let (proxy, asked) = socks5_proxy().await;
    let bench = Bench::new(through("corp", UpstreamKind::Socks5, proxy, None));
    let mut program = bench.program("192.0.2.1:25").await;
    let (target, mut server) = soon(asked).await.unwrap();
    assert_eq!(target, "192.0.2.1:25");
    server.write_all(b"220 ready\r\n").await.unwrap();
    let mut banner = [0; 11];
    soon(program.read_exact(&mut banner)).await.unwrap();
    // What the client says later is not lost to the sniffer.
    program.write_all(b"QUIT\r\n").await.unwrap();
    let mut heard = [0; 6];
    soon(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"QUIT\r\n");
}

#[tokio::test]
async fn a_client_that_says_all_and_ends_is_proxied_whole() {
    let (proxy, asked) = socks5_proxy().await;
    let mut bench = Bench::new(through("corp", UpstreamKind::Socks5, proxy, None));
    let mut program = bench.program("192.0.2.1:9").await;
    program.write_all(&[0x16]).await.unwrap();
    program.shutdown().await.unwrap();
    let (_, mut server) = soon(asked).await.unwrap();
    let mut heard = Vec::new();
    soon(server.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, [0x16]);
    server.write_all(b"ok").await.unwrap();
    drop(server);
    let mut answer = String::new();
    soon(program.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "ok");
    assert_eq!(bench.record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_http_proxy_gets_the_name_and_the_credentials() {
    let (listener, proxy) = server().await;
    let password = Secret::Literal("pw".to_owned());
    let credentials = Credentials {
        username: "me".to_owned(),
        password,
    };
    let bench = Bench::new(through("web", UpstreamKind::Http, proxy, Some(credentials)));
    let mut program = bench.program("db.example:5432").await;
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        soon(stream.read_buf(&mut request)).await.unwrap();
    }
    let request = String::from_utf8(request).unwrap();
    assert!(
        request.starts_with("CONNECT db.example:5432 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("Basic bWU6cHc="), "{request}");
    stream
        .write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        .await
        .unwrap();
    let mut first = [0; 5];
    soon(program.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"first");
}

#[tokio::test]
async fn the_result_of_the_dial_is_told_in_the_methods_own_terms() {
    let mut bench = Bench::new(Policy::default());
    let (_held, closed) = closed_port();
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let _refused = bench
        .program_with(closed, Box::new(Told(told_tx.clone())))
        .await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::Refused)));
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Refused, "direct")
    );
    assert!(record.error.unwrap().contains("refused"));

    let _nowhere = bench
        .program_with("no-such-name.invalid:1", Box::new(Told(told_tx.clone())))
        .await;
    assert_eq!(soon(told.recv()).await, Some(Err(Refusal::NoSuchHost)));
    assert_eq!(bench.record().await.outcome, Outcome::Error);

    let (_listener, address) = server().await;
    let _connected = bench.program_with(address, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await, Some(Ok(())));
}

#[tokio::test]
async fn a_refused_dial_is_a_reset_to_a_transparent_client() {
    let bench = Bench::new(Policy::default());
    let (_held, closed) = closed_port();
    let mut program = bench.program(closed).await;
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_was_told_yes_before_a_failed_dial_is_reset_and_not_answered_again() {
    let condition = Condition {
        app: vec![App::Tls],
        ..Condition::default()
    };
    let rules = vec![rule("tls", condition, Action::Reject)];
    let mut bench = Bench::new(Policy {
        rules,
        ..Policy::default()
    });
    let (_held, closed) = closed_port();
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let mut program = bench.program_with(closed, Box::new(Told(told_tx))).await;
    assert_eq!(soon(told.recv()).await, Some(Ok(())));
    program.write_all(b"hello\r\n").await.unwrap();
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    assert_eq!(soon(told.recv()).await, None);
    assert_eq!(bench.record().await.outcome, Outcome::Refused);
}

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

#[tokio::test]
async fn a_network_rule_holds_for_a_name_too() {
    let condition = Condition {
        cidr: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..Condition::default()
    };
    let rules = vec![rule("local", condition, Action::Reject)];
    let mut bench = Bench::new(Policy {
        rules,
        ..Policy::default()
    });
    let _program = bench.program("localhost:80").await;
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.rule.as_deref()),
        (Outcome::Denied, Some("local"))
    );
}
