//! Clients that are silent, slow or careless with their first bytes: no rule is passed by so.
use std::time::Duration;

use steer_core::policy::{Action, App, Condition, Policy, RequestCondition, Rule};
use steer_proxy::engine::{Engine, Limits};
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, rule, server, soon};
use crate::web::{Web, World, ask, get, speak_tls};

/// An engine that waits for first bytes for next to no time.
fn hasty(policy: Policy) -> Bench {
    let limits = Limits {
        sniff: Duration::from_millis(1),
        ..Limits::default()
    };
    Bench::with(Engine::builder(policy).limits(limits))
}

fn no_admin() -> Policy {
    let mut rule = rule("no", Condition::default(), Action::Reject);
    rule.condition.request = RequestCondition {
        path: vec!["/admin*".parse().unwrap()],
        ..RequestCondition::default()
    };
    Policy {
        rules: vec![rule],
        ..Policy::default()
    }
}

fn no_name() -> Rule {
    let condition = Condition {
        host: vec!["bad.example".parse().unwrap()],
        ..Condition::default()
    };
    rule("bad", condition, Action::Reject)
}

#[tokio::test]
async fn requests_of_a_client_that_was_silent_are_asked_about() {
    let (listener, address) = server().await;
    let mut bench = hasty(no_admin());
    let mut program = bench.program(address).await;
    // The way of silence is open: the time for first bytes is over.
    let (_server, _) = soon(listener.accept()).await.unwrap();
    let (head, _) = ask(&mut program, &get("a.example", "/admin")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(bench.request().await.outcome, Outcome::Denied);
}

#[tokio::test]
async fn a_name_that_a_silent_client_says_later_is_asked_about() {
    let (listener, address) = server().await;
    let policy = Policy {
        rules: vec![no_name()],
        ..Policy::default()
    };
    let mut bench = hasty(policy);
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    let request = get("bad.example", "/");
    program.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(bench.record().await.outcome, Outcome::Denied);
    let mut heard = Vec::new();
    let _ = soon(server.read_to_end(&mut heard)).await;
    assert_eq!(heard, b"");
}

#[tokio::test]
async fn what_a_silent_client_says_goes_by_the_connection_that_waits_for_it() {
    let (listener, address) = server().await;
    let policy = Policy {
        rules: vec![no_name()],
        ..Policy::default()
    };
    let mut bench = hasty(policy);
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    program.write_all(b"\0binary").await.unwrap();
    let mut heard = [0; 7];
    soon(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"\0binary");
    server.write_all(b"answer").await.unwrap();
    soon(program.read_exact(&mut [0; 6])).await.unwrap();
    drop((program, server));
    assert_eq!(bench.record().await.sent, Some(7));
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_and_has_its_bytes_counted() {
    let (listener, address) = server().await;
    let mut bench = hasty(no_admin());
    let mut program = bench.program(address).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    server.write_all(b"220 hello\r\n").await.unwrap();
    soon(program.read_exact(&mut [0; 11])).await.unwrap();
    program.write_all(b"QUIT\r\n").await.unwrap();
    soon(server.read_exact(&mut [0; 6])).await.unwrap();
    drop((program, server));
    let record = bench.record().await;
    assert_eq!((record.sent, record.received), (Some(6), Some(11)));
}

#[tokio::test]
async fn a_client_that_speaks_letter_by_letter_is_heard_to_the_end() {
    let web = Web::plain().await;
    let mut bench = hasty(no_admin());
    let mut program = bench.program(web.address).await;
    for letter in get("a.example", "/admin").bytes() {
        program.write_all(&[letter]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 12];
    soon(program.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 403");
    assert_eq!(bench.request().await.outcome, Outcome::Denied);
}

#[tokio::test]
async fn what_a_forgiving_server_takes_for_a_request_is_one_to_the_rules() {
    for request in [
        "GET  /admin HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/admin HTTP/1.1\r\nHost: a\r\n\r\n",
        "get /admin\r\n\r\n",
        "GET /admin HTTP/0.9\r\n\r\n",
        "GET /admin HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /admin HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "\r\n\r\nGET  /admin HTTP/1.1\r\n\r\n",
        "MAKE/IT  /admin HTTP/1.1\r\n\r\n",
    ] {
        let (listener, address) = server().await;
        let mut bench = Bench::new(no_admin());
        let mut program = bench.program(address).await;
        program.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 10];
        soon(program.read_exact(&mut answer)).await.unwrap();
        let refused = [&b"HTTP/1.1 4"[..], b"HTTP/1.1 5"].contains(&&answer[..]);
        assert!(refused, "{request:?}: {answer:?}");
        drop(program);
        assert_eq!(bench.record().await.app, App::Http1);
        drop(listener);
    }
}

#[tokio::test]
async fn no_request_becomes_http2_behind_the_rules() {
    let mut web = Web::plain().await;
    let bench = Bench::new(no_admin());
    let mut program = bench.program(web.address).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX: y\r\n\r\n";
    let (head, _) = ask(&mut program, request).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let heard = web.head().await.to_ascii_lowercase();
    assert!(!heard.contains("h2c") && heard.contains("x: y"), "{heard}");
}

#[tokio::test]
async fn a_client_that_is_silent_inside_of_tls_is_asked_about_too() {
    let world = World::new();
    let mut web = Web::tls(world.server("a.example", &[])).await;
    let mut policy = world.policy(no_admin().rules);
    policy.rules[0].tls = steer_core::policy::Inspect::Intercept;
    let bench = hasty(policy);
    let program = bench.program(web.address).await;
    let mut program = speak_tls(program, "a.example", world.client(&[]))
        .await
        .unwrap();
    // Longer than the engine waits for first bytes inside.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (head, _) = ask(&mut program, &get("a.example", "/admin")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let (head, _) = ask(&mut program, &get("a.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(web.head().await.starts_with("GET / "));
}
