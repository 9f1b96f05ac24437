//! The engine between programs, servers and proxies, fed by an intake of the test's own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod account;
mod addresses;
mod bench;
mod change;
mod dialling;
mod dns;
mod handlers;
mod inside;
mod intercepted;
mod late;
mod limits;
mod loops;
mod proxies;
mod requests;
mod secrets;
mod sniffing;
mod udp;
mod unmade;
mod web;

use std::io::ErrorKind;

use steer_core::policy::{Action, App, Condition, Credentials, Policy, Secret, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::record::{HostFrom, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
