//! Where secrets go, and where not.
use std::sync::Arc;
use std::time::Duration;

use steer_core::policy::{Action, Condition, Plaintext, UpstreamKind, ValueSource};
use steer_proxy::engine::{Engine, Limits};
use steer_proxy::record::Outcome;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::bench::{Bench, rule, server, socks5_proxy, soon, through};
use crate::web::{Web, World, Zone, about, ask, get, head_of, sets};

const SECRET: &str = "hunter2-9d1f";

/// That nobody came, because the next who comes is the test.
async fn got_nothing(attacker: &TcpListener) {
    let address = attacker.local_addr().unwrap();
    let own = tokio::net::TcpStream::connect(address).await.unwrap();
    let (_, first) = soon(attacker.accept()).await.unwrap();
    assert_eq!(first, own.local_addr().unwrap(), "somebody came before");
}

#[tokio::test]
async fn a_secret_goes_by_tls_to_the_name_whatever_address_the_program_chose() {
    let world = World::new();
    let mut api = Web::tls(world.server("api.example", &[])).await;
    let (attacker, attackers) = server().await;
    let token = world.file("token", &format!("{SECRET}\n"));
    let rules = vec![about(
        "api.example",
        sets("authorization", ValueSource::File(token)),
    )];
    let builder = Engine::builder(world.policy(rules));
    let mut bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
    let mut program = bench.program(attackers).await;
    let (head, _) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let got = api.head().await;
    assert!(
        got.contains(&format!("authorization: {SECRET}\r\n")),
        "{got}"
    );
    got_nothing(&attacker).await;
    let told = bench.request().await;
    assert!(!format!("{told:?}").contains(SECRET));
    drop(program);
    assert!(!format!("{:?}", bench.record().await).contains(SECRET));
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_no_secret() {
    let (world, others) = (World::new(), World::new());
    for (config, reason) in [
        (world.server("other.example", &[]), "another server's"),
        (others.server("api.example", &[]), "nobody who is believed"),
    ] {
        let api = Web::tls(config).await;
        let secret = sets("x-key", ValueSource::Env("PATH".to_owned()));
        let builder = Engine::builder(world.policy(vec![about("api.example", secret)]));
        let mut bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
        let mut program = bench.program("192.0.2.1:80").await;
        let (head, body) = ask(&mut program, &get("api.example", "/")).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(body.contains(reason), "{body}");
        assert!(api.is_quiet());
        assert!(bench.request().await.error.unwrap().contains(reason));
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_a_secret_where_that_is_allowed_and_not_otherwise() {
    let world = World::new();
    // The server waits for the end of what it takes for a head, and is waited for.
    let hasty = Limits {
        connect: Duration::from_millis(200),
        ..Limits::default()
    };
    for (plaintext, status, limits) in [
        (Plaintext::Refuse, "504", hasty),
        (Plaintext::Allow, "200", Limits::default()),
    ] {
        let mut api = Web::plain().await;
        let (attacker, attackers) = server().await;
        let mut secret = sets("x-key", ValueSource::Env("PATH".to_owned()));
        secret.plaintext = plaintext;
        let builder = Engine::builder(world.policy(vec![about("api.example", secret)]));
        let builder = builder.limits(limits);
        let bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
        let mut program = bench.program(attackers).await;
        let (head, _) = ask(&mut program, &get("api.example", "/")).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if plaintext == Plaintext::Allow {
            assert!(api.head().await.contains("x-key: "));
        }
        assert!(api.is_quiet());
        got_nothing(&attacker).await;
    }
}

#[tokio::test]
async fn a_request_that_names_an_address_gets_no_secret() {
    let world = World::new();
    let (attacker, attackers) = server().await;
    let mut secret = about(
        "api.example",
        sets("x-key", ValueSource::Env("PATH".to_owned())),
    );
    secret.condition.host.clear();
    let mut bench = Bench::new(world.policy(vec![secret]));
    let mut program = bench.program(attackers).await;
    let (head, _) = ask(&mut program, &get("127.0.0.1", "/")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(bench.request().await.outcome, Outcome::Denied);
    got_nothing(&attacker).await;
}

#[tokio::test]
async fn a_value_that_cannot_be_had_stops_the_request() {
    let world = World::new();
    let mut api = Web::tls(world.server("api.example", &[])).await;
    let token = world.file("token", SECRET);
    let secret = sets("authorization", ValueSource::File(token.clone()));
    let builder = Engine::builder(world.policy(vec![about("api.example", secret)]));
    let mut bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
    let mut program = bench.program("192.0.2.1:80").await;
    let (head, _) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    api.head().await;
    bench.request().await;
    std::fs::remove_file(&token).unwrap();
    let (head, body) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(!body.contains(SECRET), "{body}");
    assert!(api.is_quiet());
    assert_eq!(bench.request().await.outcome, Outcome::Error);
    world.file("token", "another");
    let (head, _) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(api.head().await.contains("authorization: another\r\n"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name_at_the_port_of_tls_and_sees_no_secret() {
    let world = World::new();
    let (proxy, asked) = socks5_proxy().await;
    let mut policy = through("corp", UpstreamKind::Socks5, proxy, None);
    policy.tls = world.tls();
    policy.rules[0].http = sets("x-key", ValueSource::Env("PATH".to_owned()));
    let bench = Bench::new(policy);
    let mut program = bench.program("192.0.2.1:80").await;
    let request = get("api.example", "/");
    program.write_all(request.as_bytes()).await.unwrap();
    let (target, stream) = soon(asked).await.unwrap();
    assert_eq!(target, "api.example:443");
    let acceptor = TlsAcceptor::from(Arc::new(world.server("api.example", &[])));
    let mut stream = soon(acceptor.accept(stream)).await.unwrap();
    assert!(head_of(&mut stream).await.unwrap().contains("x-key: "));
}

#[tokio::test]
async fn a_name_leads_no_secret_to_an_address_that_the_rules_reject() {
    let world = World::new();
    let api = Web::tls(world.server("api.example", &[])).await;
    let local = Condition {
        cidr: vec!["127.0.0.0/8".parse().unwrap()],
        ..Condition::default()
    };
    let rules = vec![
        rule("local", local, Action::Reject),
        about(
            "api.example",
            sets("x-key", ValueSource::Env("PATH".to_owned())),
        ),
    ];
    let builder = Engine::builder(world.policy(rules));
    let bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
    let mut program = bench.program("192.0.2.1:80").await;
    let (head, _) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(api.is_quiet());
}

#[tokio::test]
async fn no_server_is_asked_to_send_a_secret_back() {
    let world = World::new();
    let api = Web::tls(world.server("api.example", &[])).await;
    let secret = sets("x-key", ValueSource::Env("PATH".to_owned()));
    let builder = Engine::builder(world.policy(vec![about("api.example", secret)]));
    let mut bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
    let mut program = bench.program("192.0.2.1:80").await;
    let trace = get("api.example", "/").replace("GET ", "TRACE ");
    let (head, _) = ask(&mut program, &trace).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(bench.request().await.outcome, Outcome::Denied);
    assert!(api.is_quiet());
}
