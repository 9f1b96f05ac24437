//! TLS that is opened.
use rustls::RootCertStore;
use steer_core::policy::{
    Action, App, Condition, Failing, Http, Inspect, Policy, Rule, ValueSource,
};
use steer_proxy::engine::Engine;
use steer_proxy::record::{Outcome, TlsSeen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::bench::{Bench, rule, server, soon};
use crate::web::{Web, World, Zone, about, ask, client_of, get, sets, speak_tls};

fn opened(host: &str, http: Http) -> Rule {
    Rule {
        tls: Inspect::Intercept,
        ..about(host, http)
    }
}

fn literal() -> Http {
    sets("x-team", ValueSource::Literal("blue".to_owned()))
}

#[tokio::test]
async fn requests_in_tls_are_looked_at_and_the_server_is_verified() {
    let world = World::new();
    let mut web = Web::tls(world.server("a.example", &[])).await;
    let mut bench = Bench::new(world.policy(vec![opened("a.example", literal())]));
    let program = bench.program(web.address).await;
    let mut program = speak_tls(program, "a.example", world.client(&[]))
        .await
        .unwrap();
    for _ in 0..2 {
        let (head, _) = ask(&mut program, &get("a.example", "/x?secret=1")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(web.head().await.contains("x-team: blue\r\n"));
        assert_eq!(bench.request().await.path.as_deref(), Some("/x"));
    }
    program.shutdown().await.unwrap();
    drop(program);
    let record = bench.record().await;
    assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
    assert_eq!(record.tls, Some(TlsSeen::Intercepted));
    assert_eq!((record.app, record.requests), (App::Http1, Some(2)));
    assert_eq!(record.sni.unwrap().as_str(), "a.example");
    assert!(record.sent.unwrap() > 300, "as encrypted");
}

#[tokio::test]
async fn the_client_is_told_the_protocol_that_the_server_chose() {
    let world = World::new();
    for (server, offered, chosen) in [
        (&[][..], &[&b"h2"[..], b"http/1.1"][..], None),
        (
            &[&b"http/1.1"[..]][..],
            &[&b"h2"[..], b"http/1.1"][..],
            Some(&b"http/1.1"[..]),
        ),
        (
            &[&b"h2"[..], b"http/1.1"][..],
            &[&b"h2"[..]][..],
            Some(&b"h2"[..]),
        ),
        (&[&b"h2"[..], b"http/1.1"][..], &[][..], None),
    ] {
        let web = Web::tls(world.server("a.example", server)).await;
        let bench = Bench::new(world.policy(vec![opened("a.example", literal())]));
        let program = bench.program(web.address).await;
        let program = speak_tls(program, "a.example", world.client(offered))
            .await
            .unwrap();
        assert_eq!(program.get_ref().1.alpn_protocol(), chosen);
    }
}

#[tokio::test]
async fn http2_in_tls_is_looked_at() {
    let world = World::new();
    let (listener, address) = server().await;
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(world.server("a.example", &[b"h2"])));
    let (seen_tx, seen) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let team = request.headers()["x-team"].to_str().unwrap().to_owned();
        let _ = seen_tx.send((team, request.uri().to_string()));
        let response = http::Response::builder().status(204).body(()).unwrap();
        respond.send_response(response, true).unwrap();
        while connection.accept().await.is_some() {}
    });
    let mut bench = Bench::new(world.policy(vec![opened("a.example", literal())]));
    let program = bench.program(address).await;
    let program = speak_tls(program, "a.example", world.client(&[b"h2"]))
        .await
        .unwrap();
    let (mut asking, connection) = h2::client::handshake(program).await.unwrap();
    let driven = tokio::spawn(connection);
    let request = http::Request::get("https://a.example/y").body(()).unwrap();
    let (response, _) = asking.send_request(request, true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 204);
    let (team, uri) = soon(seen).await.unwrap();
    assert_eq!(
        (team.as_str(), uri.as_str()),
        ("blue", "https://a.example/y")
    );
    drop(asking);
    let _ = soon(driven).await;
    let told = bench.request().await;
    assert_eq!((told.status, told.outcome), (Some(204), Outcome::Ok));
    let record = bench.record().await;
    assert_eq!((record.app, record.requests), (App::Http2, Some(1)));
}

#[tokio::test]
async fn a_server_that_is_not_believed_is_an_alert_to_the_client_and_recorded() {
    let (world, others) = (World::new(), World::new());
    let web = Web::tls(others.server("a.example", &[])).await;
    let mut bench = Bench::new(world.policy(vec![opened("a.example", literal())]));
    let program = bench.program(web.address).await;
    let refused = speak_tls(program, "a.example", world.client(&[])).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("UnknownCA"), "{refused}");
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    assert!(record.error.unwrap().contains("nobody who is believed"));
    assert!(web.is_quiet());
}

#[tokio::test]
async fn a_claimed_name_leads_no_secret_and_no_dial_to_the_address_that_a_program_chose() {
    let world = World::new();
    let mut api = Web::tls(world.server("api.example", &[])).await;
    let (attacker, attackers) = server().await;
    let secret = sets("authorization", ValueSource::Env("PATH".to_owned()));
    let rules = vec![opened("api.example", secret)];
    let builder = Engine::builder(world.policy(rules));
    let bench = Bench::with(builder.resolver(Zone::of(&[("api.example", api.address)])));
    let program = bench.program(attackers).await;
    let mut program = speak_tls(program, "api.example", world.client(&[]))
        .await
        .unwrap();
    let (head, _) = ask(&mut program, &get("api.example", "/")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(api.head().await.contains("authorization: "));
    let own = tokio::net::TcpStream::connect(attackers).await.unwrap();
    let (_, first) = soon(attacker.accept()).await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

#[tokio::test]
async fn a_client_that_does_not_believe_us_is_recorded_and_passes_later_where_that_is_wanted() {
    let world = World::new();
    for failing in [Failing::Refuse, Failing::Pass] {
        let mut web = Web::tls(world.server("a.example", &[])).await;
        let mut policy = world.policy(vec![opened("a.example", literal())]);
        policy.tls.failing = failing;
        let mut bench = Bench::new(policy);
        let program = bench.program(web.address).await;
        let pinned = || client_of(RootCertStore::empty(), &[]);
        speak_tls(program, "a.example", pinned()).await.unwrap_err();
        let record = bench.record().await;
        assert_eq!(record.outcome, Outcome::Error);
        assert!(record.error.unwrap().contains("does not believe"));
        // The next one believes the server itself.
        let program = bench.program(web.address).await;
        let told = speak_tls(program, "a.example", world.believing()).await;
        match failing {
            Failing::Refuse => drop(told.unwrap_err()),
            Failing::Pass => {
                let mut program = told.unwrap();
                ask(&mut program, &get("a.example", "/")).await;
                assert!(!web.head().await.contains("x-team"));
                drop(program);
                assert_eq!(bench.record().await.tls, Some(TlsSeen::Pass));
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_http_in_tls_is_passed_on() {
    let world = World::new();
    let (listener, address) = server().await;
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(world.server("a.example", &[])));
    let mut bench = Bench::new(world.policy(vec![opened("a.example", literal())]));
    let program = bench.program(address).await;
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut word = [0; 6];
        stream.read_exact(&mut word).await.unwrap();
        stream.shutdown().await.unwrap();
        word
    });
    let mut program = speak_tls(program, "a.example", world.client(&[]))
        .await
        .unwrap();
    let mut banner = [0; 11];
    soon(program.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 ready\r\n");
    program.write_all(b"QUIT\r\n").await.unwrap();
    assert_eq!(&soon(serving).await.unwrap(), b"QUIT\r\n");
    assert_eq!(soon(program.read(&mut banner)).await.unwrap(), 0);
    program.shutdown().await.unwrap();
    drop(program);
    let record = bench.record().await;
    assert_eq!((record.app, record.requests), (App::Tls, None));
    assert_eq!(record.tls, Some(TlsSeen::Intercepted));
}

#[tokio::test]
async fn tls_that_no_rule_opens_passes_and_rules_about_requests_do_not_match_it() {
    let world = World::new();
    let mut web = Web::tls(world.server("a.example", &[])).await;
    let mut about_paths = about("a.example", literal());
    about_paths.action = Action::Direct;
    let last = rule("last", Condition::default(), Action::Direct);
    let policy = Policy {
        rules: vec![about_paths, last],
        ..world.policy(Vec::new())
    };
    let mut bench = Bench::new(policy);
    let program = bench.program(web.address).await;
    let mut program = speak_tls(program, "a.example", world.believing())
        .await
        .unwrap();
    ask(&mut program, &get("a.example", "/")).await;
    assert!(!web.head().await.contains("x-team"));
    drop(program);
    let record = bench.record().await;
    assert_eq!(record.rule.as_deref(), Some("last"));
    assert_eq!((record.tls, record.requests), (Some(TlsSeen::Pass), None));
}
