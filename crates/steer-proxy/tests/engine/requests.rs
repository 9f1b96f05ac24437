//! Requests that rules are about.
use std::io::ErrorKind;
use std::time::Duration;

use steer_core::policy::{
    Action, App, Condition, Edits, Http, PathEdit, Policy, Reply, RequestCondition, Rule, Scheme,
    Target, UpstreamKind, ValueSource,
};
use steer_proxy::engine::{Engine, Limits};
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, broken, closed_port, rule, server, socks5_proxy, soon, through};
use crate::web::{Web, Zone, about, ask, get, head_of, response, sets};

fn policy(rules: Vec<Rule>) -> Policy {
    Policy {
        rules,
        ..Policy::default()
    }
}

fn literal(name: &str, value: &str) -> Http {
    sets(name, ValueSource::Literal(value.to_owned()))
}

fn path(pattern: &str, action: Action) -> Rule {
    let mut rule = rule(pattern, Condition::default(), action);
    rule.condition.request = RequestCondition {
        path: vec![pattern.parse().unwrap()],
        ..RequestCondition::default()
    };
    rule
}

#[tokio::test]
async fn requests_get_fields_and_responses_lose_some_over_one_connection() {
    let mut web = Web::plain().await;
    let mut http = literal("x-team", "blue");
    http.response = Edits {
        remove: vec!["server".to_owned()],
        ..Edits::default()
    };
    let mut bench = Bench::new(policy(vec![about("a.example", http)]));
    let mut program = bench.program(web.address).await;
    let (mut sent, mut received) = (0, 0);
    for path in ["/one", "/two"] {
        let request = get("a.example", path);
        let (head, body) = ask(&mut program, &request).await;
        assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(body, "hello");
        let expected = request.replace("\r\n\r\n", "\r\nx-team: blue\r\n\r\n");
        assert_eq!(web.head().await, expected);
        (sent, received) = (sent + request.len(), received + head.len() + body.len());
        let told = bench.request().await;
        assert_eq!((told.method.as_str(), told.status), ("GET", Some(200)));
        assert_eq!(told.path.as_deref(), Some(path));
        assert_eq!(
            (told.host.as_deref(), told.rule.as_deref()),
            (Some("a.example"), Some("a.example"))
        );
        assert_eq!(
            (told.upstream.as_str(), told.outcome),
            ("direct", Outcome::Ok)
        );
    }
    program.shutdown().await.unwrap();
    assert_eq!(soon(program.read(&mut [0])).await.unwrap(), 0);
    let record = bench.record().await;
    assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
    assert_eq!((record.requests, record.app), (Some(2), App::Http1));
    // As the program sees it: without what was added on the way, and what was taken.
    assert_eq!(record.sent, Some(sent as u64));
    assert_eq!(record.received, Some(received as u64));
    assert_eq!(
        (record.upstream.as_str(), record.rule.as_deref()),
        ("direct", Some("a.example"))
    );
}

#[tokio::test]
async fn each_request_of_a_connection_is_asked_about() {
    let mut web = Web::plain().await;
    let mut bench = Bench::new(policy(vec![path("/admin*", Action::Reject)]));
    let mut program = bench.program(web.address).await;
    for (asked, allowed) in [("/", true), ("/admin", false), ("/x/../admin/y", false)] {
        let (head, _) = ask(&mut program, &get("a.example", asked)).await;
        let status = if allowed { "200" } else { "403" };
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}: {head}"
        );
        let told = bench.request().await;
        assert_eq!(
            told.outcome,
            if allowed {
                Outcome::Ok
            } else {
                Outcome::Denied
            }
        );
    }
    let (head, _) = ask(&mut program, &get("a.example", "/last")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(web.head().await.starts_with("GET / "));
    assert!(web.head().await.starts_with("GET /last "));
}

#[tokio::test]
async fn a_reply_of_a_rule_needs_no_server() {
    let http = Http {
        respond: Some(Reply {
            status: 418,
            headers: vec![("x-why".to_owned(), "tea".to_owned())],
            body: "short".to_owned(),
        }),
        ..Http::default()
    };
    let mut bench = Bench::new(policy(vec![about("a.example", http)]));
    let (_held, closed) = closed_port();
    let mut program = bench.program(closed).await;
    let (head, body) = ask(&mut program, &get("a.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    assert!(head.contains("x-why: tea\r\n"), "{head}");
    assert_eq!(body, "short");
    let told = bench.request().await;
    assert_eq!((told.status, told.upstream.as_str()), (Some(418), "none"));
}

#[tokio::test]
async fn a_request_goes_elsewhere_with_the_name_and_path_of_there() {
    let (mut web, other) = (Web::plain().await, Web::plain().await);
    let http = Http {
        to: Some(Target {
            scheme: Scheme::Http,
            host: "b.example".parse().unwrap(),
            port: 8080,
        }),
        path: Some(PathEdit {
            strip: "/v1".to_owned(),
            prefix: "/api".to_owned(),
        }),
        ..Http::default()
    };
    let builder = Engine::builder(policy(vec![about("a.example", http)]));
    let bench = Bench::with(builder.resolver(Zone::of(&[("b.example", web.address)])));
    let mut program = bench.program(other.address).await;
    let (head, _) = ask(&mut program, &get("a.example", "/v1/x?q=1")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let got = web.head().await;
    assert!(got.starts_with("GET /api/x?q=1 HTTP/1.1\r\n"), "{got}");
    assert!(
        got.contains("Host: b.example:8080\r\n") || got.contains("host: b.example:8080\r\n"),
        "{got}"
    );
    assert!(other.is_quiet());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_status_and_the_connection_goes_on() {
    let mut bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let (_held, closed) = closed_port();
    let mut program = bench.program(closed).await;
    for _ in 0..2 {
        let (head, body) = ask(&mut program, &get("a.example", "/")).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(body.contains("refused"), "{body}");
        let told = bench.request().await;
        assert_eq!((told.outcome, told.status), (Outcome::Refused, Some(502)));
        assert!(told.error.unwrap().contains("refused"));
    }
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_a_504() {
    let limits = Limits {
        connect: Duration::from_millis(100),
        ..Limits::default()
    };
    let (listener, proxy) = server().await;
    let mut policy = through("silent", UpstreamKind::Socks5, proxy, None);
    policy.rules[0].http = literal("x-a", "b");
    let mut bench = Bench::with(Engine::builder(policy).limits(limits));
    let mut program = bench.program("192.0.2.1:80").await;
    let (head, _) = ask(&mut program, &get("a.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    let told = bench.request().await;
    assert_eq!(
        (told.outcome, told.upstream.as_str()),
        (Outcome::Timeout, "silent")
    );
    drop(listener);
}

#[tokio::test]
async fn a_proxy_gets_the_name_of_the_request() {
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy.rules[0].http = literal("x-a", "b");
    let bench = Bench::new(policy);
    let mut program = bench.program("192.0.2.1:8080").await;
    let request = get("Name.Example:8080", "/");
    program.write_all(request.as_bytes()).await.unwrap();
    let (target, mut stream) = soon(asked).await.unwrap();
    assert_eq!(target, "name.example:8080");
    let got = head_of(&mut stream).await.unwrap();
    assert_eq!(got, request.replace("\r\n\r\n", "\r\nx-a: b\r\n\r\n"));
}

#[tokio::test]
async fn an_upgraded_connection_carries_whatever_both_sides_say() {
    let (listener, address) = server().await;
    let mut bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let mut program = bench.program(address).await;
    let request = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\n\r\n";
    program.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    assert!(head_of(&mut stream).await.unwrap().contains("x-a: b\r\n"));
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n\r\n";
    stream.write_all(switching.as_bytes()).await.unwrap();
    assert_eq!(head_of(&mut program).await.unwrap(), switching);
    stream.write_all(b"\x00frame").await.unwrap();
    program.write_all(b"\xffother").await.unwrap();
    let (mut to_program, mut to_server) = ([0; 6], [0; 6]);
    soon(program.read_exact(&mut to_program)).await.unwrap();
    soon(stream.read_exact(&mut to_server)).await.unwrap();
    assert_eq!((&to_program, &to_server), (b"\x00frame", b"\xffother"));
    // Each direction ends by itself.
    program.shutdown().await.unwrap();
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
    stream.write_all(b"late").await.unwrap();
    drop(stream);
    let mut late = String::new();
    soon(program.read_to_string(&mut late)).await.unwrap();
    assert_eq!(late, "late");
    assert_eq!(bench.request().await.status, Some(101));
    assert_eq!(bench.record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn what_is_no_http_passes_rules_about_requests() {
    let (listener, address) = server().await;
    let mut bench = Bench::new(policy(vec![path("/*", Action::Reject)]));
    let mut program = bench.program(address).await;
    program
        .write_all(b"\x00\x01\x02\x03 not http")
        .await
        .unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut got = [0; 13];
    soon(stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"\x00\x01\x02\x03 not http");
    drop((program, stream));
    let record = bench.record().await;
    assert_eq!((record.requests, record.app), (None, App::Opaque));
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let web = Web::plain().await;
    let mut bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let mut program = bench.program(web.address).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
    let (head, _) = ask(&mut program, request).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(soon(program.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(bench.record().await.outcome, Outcome::Error);
    assert!(web.is_quiet());
}

#[tokio::test]
async fn a_drain_lets_an_exchange_end_and_takes_no_other() {
    let (listener, address) = server().await;
    let mut bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let mut program = bench.program(address).await;
    let request = get("a.example", "/");
    program.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    head_of(&mut stream).await.unwrap();
    let engine = bench.engine.clone();
    let draining = tokio::spawn(async move { engine.drain(Duration::from_secs(20)).await });
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    assert_eq!(response(&mut program).await.1, "ok");
    assert_eq!(soon(program.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(soon(draining).await.unwrap().aborted, 0);
    assert_eq!(bench.record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_drain_ends_a_connection_that_waits_for_its_next_request() {
    let web = Web::plain().await;
    let bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let mut program = bench.program(web.address).await;
    ask(&mut program, &get("a.example", "/")).await;
    let drained = soon(bench.engine.drain(Duration::from_secs(20))).await;
    assert_eq!(drained.aborted, 0);
    assert_eq!(soon(program.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn an_exchange_that_is_cut_off_is_a_reset_and_recorded() {
    let (listener, address) = server().await;
    let mut bench = Bench::new(policy(vec![about("a.example", literal("x-a", "b"))]));
    let mut program = bench.program(address).await;
    program
        .write_all(get("a.example", "/").as_bytes())
        .await
        .unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    head_of(&mut stream).await.unwrap();
    assert_eq!(bench.engine.drain(Duration::ZERO).await.aborted, 1);
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    assert_eq!(bench.request().await.outcome, Outcome::Reset);
    let record = bench.record().await;
    assert_eq!((record.outcome, record.requests), (Outcome::Reset, Some(1)));
}

#[tokio::test]
async fn a_session_keeps_to_the_policy_that_it_met() {
    let mut web = Web::plain().await;
    let with = |value: &str| policy(vec![about("a.example", literal("x-team", value))]);
    let bench = Bench::new(with("blue"));
    let mut before = bench.program(web.address).await;
    for team in ["blue", "red"] {
        let mut program = bench.program(web.address).await;
        for (program, team) in [(&mut before, "blue"), (&mut program, team)] {
            ask(program, &get("a.example", "/")).await;
            let got = web.head().await;
            assert!(got.contains(&format!("x-team: {team}\r\n")), "{got}");
        }
        let change = bench.engine.prepare(with("red")).unwrap();
        let _before = bench.engine.change(change);
    }
}
