//! DNS conversations, and names that addresses stand for.
mod meaning;
mod talk;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use steer_core::address::{ClientAddr, Destination, Protocol};
use steer_core::policy::{Action, App, Condition, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, EngineBuilder, Limits, UdpLimits};
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{Bench, closed_port, rule, soon, through};
use crate::udp::program::{Program, bring, server};
use talk::{Script, answer_to, frame, query, read_frame, tcp_resolver, udp_resolver};

fn builder(policy: Policy) -> EngineBuilder {
    let limits = Limits::default();
    let udp = UdpLimits {
        dns: Duration::from_millis(200),
        ..limits.udp
    };
    let script = Arc::new(Script);
    Engine::builder(policy)
        .limits(Limits { udp, ..limits })
        .conversation(script)
}

async fn ask(bench: &Bench, to: SocketAddr, first: &[u8]) -> Program {
    let mut program = Program::bound().await;
    let client = ClientAddr(program.address());
    let to = Destination::addr(to);
    bring(bench, &mut program, client, to, first, Some(App::Dns));
    program
}

/// A program's connection to a resolver, taken by a listener for DNS.
async fn connect(bench: &Bench, to: SocketAddr) -> TcpStream {
    bench.dns_program(to).await
}

#[tokio::test]
async fn queries_are_asked_of_the_addressed_resolver_and_recorded() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (resolver, asked) = udp_resolver().await;
    let mut program = ask(&bench, resolver, &query(1, "a.example")).await;
    assert_eq!(program.receive().await, answer_to(&query(1, "a.example")));
    program.send(&query(2, "b.example")).await;
    program.send(&query(3, "c.example")).await;
    let mut got = [program.receive().await, program.receive().await];
    got.sort();
    assert_eq!(
        got,
        [2, 3].map(|id| answer_to(&query(
            id,
            ["b", "c"][usize::from(id) - 2].to_owned() + ".example"
        )))
    );
    assert_eq!(asked.lock().unwrap().len(), 3);
    let record = bench.record().await;
    assert_eq!((record.app, record.protocol), (App::Dns, Protocol::Udp));
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "direct")
    );
    assert_eq!(
        (record.destination, record.host),
        (resolver.to_string(), None)
    );
    assert_eq!(record.sent, Some(3 * query(1, "a.example").len() as u64));
}

#[tokio::test]
async fn what_is_answered_here_is_asked_of_nobody() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (resolver, asked) = udp_resolver().await;
    let mut program = ask(&bench, resolver, &query(7, "fake.here")).await;
    assert_eq!(program.receive().await, b"\0\x07made up");
    program.send(b"garbage").await;
    program.send(b"").await;
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "none")
    );
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn garbage_alone_is_an_error_that_says_so() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (resolver, asked) = udp_resolver().await;
    let _program = ask(&bench, resolver, b"garbage").await;
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    assert_eq!(record.error.as_deref(), Some("no query"));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_chosen_resolver_is_asked_instead_and_the_addressed_one_is_recorded() {
    let (resolver, _asked) = udp_resolver().await;
    let mut bench = Bench::with(builder(Policy::default()).dns_resolver(resolver));
    let (silent, addressed) = server().await;
    let mut program = ask(&bench, addressed, &query(1, "a.example")).await;
    assert_eq!(program.receive().await, answer_to(&query(1, "a.example")));
    assert_eq!(bench.record().await.destination, addressed.to_string());
    assert!(silent.try_recv(&mut [0; 9]).is_err());
}

#[tokio::test]
async fn answers_that_belong_to_no_query_are_dropped() {
    let bench = Bench::with(builder(Policy::default()));
    let (socket, resolver) = server().await;
    let mut program = ask(&bench, resolver, &query(1, "a.example")).await;
    let mut room = [0; 512];
    let (_, from) = soon(socket.recv_from(&mut room)).await.unwrap();
    for wrong in [
        answer_to(&query(2, "a.example")),
        answer_to(&query(1, "b.example")),
        b"\0".to_vec(),
    ] {
        socket.send_to(&wrong, from).await.unwrap();
    }
    let right = answer_to(&query(1, "a.example"));
    socket.send_to(&right, from).await.unwrap();
    // Once: it is no query's answer any more.
    socket.send_to(&right, from).await.unwrap();
    assert_eq!(program.receive().await, right);
    program.send(&query(9, "fake.here")).await;
    assert_eq!(program.receive().await, b"\0\x09made up");
}

#[tokio::test]
async fn a_resolver_that_is_not_there_is_told_at_once() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (socket, resolver) = server().await;
    drop(socket);
    let mut program = ask(&bench, resolver, &query(1, "a.example")).await;
    assert_eq!(program.refused().await.0, Refusal::Refused);
    assert_eq!(bench.record().await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_resolver_that_says_nothing_is_a_timeout() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (_socket, resolver) = server().await;
    let _program = ask(&bench, resolver, &query(1, "a.example")).await;
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.received),
        (Outcome::Timeout, Some(0))
    );
}

#[tokio::test]
async fn rules_hold_for_dns() {
    let condition = Condition {
        app: vec![App::Dns],
        ..Condition::default()
    };
    let policy = Policy {
        rules: vec![rule("no-dns", condition, Action::Reject)],
        ..Policy::default()
    };
    let mut bench = Bench::with(builder(policy));
    let (resolver, asked) = udp_resolver().await;
    let mut program = ask(&bench, resolver, &query(1, "fake.here")).await;
    assert_eq!(program.refused().await.0, Refusal::Denied);
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.rule.as_deref()),
        (Outcome::Denied, Some("no-dns"))
    );
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn messages_in_a_stream_are_framed_and_may_be_many_at_once() {
    let mut bench = Bench::with(builder(Policy::default()));
    let resolver = tcp_resolver(usize::MAX).await;
    let mut program = connect(&bench, resolver).await;
    let names = ["a.example", "fake.here", "b.example"];
    let queries: Vec<Vec<u8>> = (0..3).map(|id| query(id, names[usize::from(id)])).collect();
    let sent: Vec<u8> = queries.iter().flat_map(|query| frame(query)).collect();
    // Cut where it is least welcome.
    program.write_all(&sent[..1]).await.unwrap();
    program.flush().await.unwrap();
    tokio::task::yield_now().await;
    program.write_all(&sent[1..]).await.unwrap();
    program.shutdown().await.unwrap();
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(soon(read_frame(&mut program)).await.unwrap());
    }
    got.sort();
    assert_eq!(
        got,
        [
            answer_to(&queries[0]),
            b"\0\x01made up".to_vec(),
            answer_to(&queries[2])
        ]
    );
    assert_eq!(soon(program.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    let record = bench.record().await;
    assert_eq!((record.app, record.protocol), (App::Dns, Protocol::Tcp));
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "direct")
    );
}

#[tokio::test]
async fn a_resolver_that_closes_after_each_answer_is_asked_again() {
    let bench = Bench::with(builder(Policy::default()));
    let resolver = tcp_resolver(1).await;
    let mut program = connect(&bench, resolver).await;
    for id in 0..4 {
        let query = query(id, "a.example");
        program.write_all(&frame(&query)).await.unwrap();
        assert_eq!(
            soon(read_frame(&mut program)).await.unwrap(),
            answer_to(&query)
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_within_a_message_is_reset() {
    let mut bench = Bench::with(builder(Policy::default()));
    let (_held, resolver) = closed_port();
    let mut program = connect(&bench, resolver).await;
    program.write_all(b"\0\x20short").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(bench.record().await.outcome, Outcome::Reset);
    soon(program.read_to_end(&mut Vec::new()))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn datagrams_go_by_stream_through_a_proxy_that_has_no_others() {
    let resolver = tcp_resolver(usize::MAX).await;
    let proxy = talk::http_proxy().await;
    let mut bench = Bench::with(builder(through("web", UpstreamKind::Http, proxy, None)));
    let mut program = ask(&bench, resolver, &query(1, "a.example")).await;
    assert_eq!(program.receive().await, answer_to(&query(1, "a.example")));
    program.send(&query(2, "b.example")).await;
    assert_eq!(program.receive().await, answer_to(&query(2, "b.example")));
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "web")
    );
}

#[tokio::test]
async fn the_rules_learn_an_address_before_the_program_does() {
    let follower = Arc::new(talk::Watched::default());
    let builder = builder(Policy::default()).follower(follower.clone());
    let bench = Bench::with(builder);
    let (resolver, _asked) = udp_resolver().await;
    let mut program = ask(&bench, resolver, &query(1, "learn.example")).await;
    let learned = soon(follower.learned()).await;
    assert_eq!(learned.name.as_str(), "learn.example");
    assert_eq!(learned.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    // It waits for the rules.
    assert!(program.is_silent().await);
    follower.done();
    assert_eq!(
        program.receive().await,
        answer_to(&query(1, "learn.example"))
    );
}

#[tokio::test]
async fn an_answer_that_the_rules_cannot_learn_becomes_a_failure() {
    let follower = Arc::new(talk::Watched::default());
    let builder = builder(Policy::default()).follower(follower.clone());
    let bench = Bench::with(builder);
    let (resolver, _asked) = udp_resolver().await;
    let mut program = ask(&bench, resolver, &query(1, "learn.example")).await;
    soon(follower.learned()).await;
    follower.fail();
    let answer = program.receive().await;
    let counts = [0; 8];
    assert_eq!((&answer[..2], answer[3] & 0x0f), (&[0, 1][..], 2));
    assert_eq!(answer[4..], counts, "no address");
}

#[tokio::test]
async fn an_answered_conversation_by_datagrams_gives_its_place_back_soon() {
    let limits = Limits::default();
    let udp = UdpLimits {
        dns: Duration::from_secs(3600),
        ..limits.udp
    };
    let builder = builder(Policy::default()).limits(Limits { udp, ..limits });
    let mut bench = Bench::with(builder);
    let (_socket, silent) = server().await;
    let _waits = ask(&bench, silent, &query(1, "a.example")).await;
    let (resolver, _asked) = udp_resolver().await;
    let mut answered = ask(&bench, resolver, &query(2, "a.example")).await;
    assert_eq!(answered.receive().await, answer_to(&query(2, "a.example")));
    let record = bench.record().await;
    assert_eq!(record.destination, resolver.to_string());
    assert_eq!(record.outcome, Outcome::Ok);
    // The one that was begun before waits for its answer.
    assert_eq!(bench.engine.live(), 1);
}
