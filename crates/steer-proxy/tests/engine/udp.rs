//! Flows of datagrams: to their destination, through a proxy, and when there is no way.
mod flood;
pub(crate) mod program;
mod quic;
mod relay;

use std::net::Ipv4Addr;
use std::time::Duration;

use steer_core::address::{ClientAddr, Destination, Protocol};
use steer_core::policy::{Action, App, Condition, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Drained, Engine, Limits, UdpLimits};
use steer_proxy::record::Outcome;

use crate::bench::{Bench, closed_port, rule, soon, through};
use program::{Program, echo, server, steer};

/// Limits with which flows end soon, for tests that wait for records.
fn brief() -> Limits {
    let limits = Limits::default();
    let udp = UdpLimits {
        idle: Duration::from_millis(100),
        ..limits.udp
    };
    Limits { udp, ..limits }
}

fn bench(policy: Policy) -> Bench {
    Bench::with(Engine::builder(policy).limits(brief()))
}

#[tokio::test]
async fn datagrams_go_both_ways_and_a_flow_that_rests_is_recorded() {
    let mut bench = bench(Policy::default());
    let to = echo().await;
    let mut program = Program::begin(&bench, to, b"first").await;
    assert_eq!(program.receive().await, b"first");
    // Room for the largest is asked of the kernel's default buffers, so it goes alone.
    for datagram in [&b""[..], &[1; 1200], &[2; 65_507], b"last"] {
        program.send(datagram).await;
        assert!(
            program.receive().await == datagram,
            "{} bytes",
            datagram.len()
        );
    }
    let record = bench.record().await;
    let bytes = 5 + 1200 + 65_507 + 4;
    assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
    assert_eq!((record.sent, record.received), (Some(bytes), Some(bytes)));
    assert_eq!(record.protocol, Protocol::Udp);
    assert_eq!(record.client, program.address().to_string());
    assert_eq!(record.destination, to.to_string());
    assert_eq!(
        (record.upstream.as_str(), record.app),
        ("direct", App::Opaque)
    );
    assert_eq!(bench.engine.live(), 0);
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_its_parts() {
    let bench = Bench::new(Policy::default());
    let mut program = Program::begin(&bench, echo().await, b"0").await;
    program.receive().await;
    for round in 0..20_u8 {
        for part in 0..40 {
            program
                .send(&[&[round, part][..], &vec![0; 900 + usize::from(part)]].concat())
                .await;
        }
        for part in 0..40 {
            let got = program.receive().await;
            assert_eq!(
                (got[..2].to_vec(), got.len()),
                (vec![round, part], 902 + usize::from(part))
            );
        }
    }
}

#[tokio::test]
async fn a_flow_that_nobody_answers_is_recorded_as_a_timeout() {
    let mut bench = bench(Policy::default());
    let (socket, to) = server().await;
    let _program = Program::begin(&bench, to, b"anybody?").await;
    let mut room = [0; 16];
    soon(socket.recv_from(&mut room)).await.unwrap();
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Timeout);
    assert_eq!(record.error.as_deref(), Some("nothing came back"));
    assert_eq!((record.sent, record.received), (Some(8), Some(0)));
}

#[tokio::test]
async fn a_closed_port_is_told_to_the_program_at_once() {
    let mut bench = Bench::new(Policy::default());
    let (socket, to) = server().await;
    drop(socket);
    let mut program = Program::begin(&bench, to, b"x").await;
    assert_eq!(program.refused().await, (Refusal::Refused, b"x".to_vec()));
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Refused);
    assert!(record.error.unwrap().contains("refused"));
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_in_the_middle_of_a_flow() {
    let mut bench = Bench::new(Policy::default());
    let (socket, to) = server().await;
    let mut program = Program::begin(&bench, to, b"x").await;
    let mut room = [0; 16];
    let (_, from) = soon(socket.recv_from(&mut room)).await.unwrap();
    socket.send_to(b"bye", from).await.unwrap();
    assert_eq!(program.receive().await, b"bye");
    drop(socket);
    program.send(b"again").await;
    assert_eq!(
        program.refused().await,
        (Refusal::Refused, b"again".to_vec())
    );
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.received),
        (Outcome::Refused, Some(3))
    );
}

#[tokio::test]
async fn rules_tell_udp_from_tcp() {
    let condition = Condition {
        protocol: vec![Protocol::Udp],
        port: vec!["1-65535".parse().unwrap()],
        ..Condition::default()
    };
    let tcp = Condition {
        protocol: vec![Protocol::Tcp],
        ..Condition::default()
    };
    let policy = Policy {
        rules: vec![
            rule("tcp", tcp, Action::Direct),
            rule("no-udp", condition, Action::Reject),
        ],
        ..Policy::default()
    };
    let mut bench = Bench::new(policy);
    let (socket, to) = server().await;
    let mut program = Program::begin(&bench, to, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Denied);
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Denied, "none")
    );
    assert_eq!(record.rule.as_deref(), Some("no-udp"));
    assert!(socket.try_recv(&mut [0; 9]).is_err());
}

#[tokio::test]
async fn an_http_proxy_cannot_carry_datagrams_and_they_do_not_go_direct() {
    let (_held, proxy) = closed_port();
    let mut bench = Bench::new(through("web", UpstreamKind::Http, proxy, None));
    let (socket, to) = server().await;
    let mut program = Program::begin(&bench, to, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Upstream);
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Error, "web")
    );
    assert_eq!(
        record.error.as_deref(),
        Some("an HTTP proxy carries no UDP")
    );
    assert!(socket.try_recv(&mut [0; 9]).is_err());
}

#[tokio::test]
async fn a_name_is_resolved_for_datagrams_too() {
    let mut bench = bench(Policy::default());
    let to = echo().await;
    let name: Destination = format!("localhost:{}", to.port()).parse().unwrap();
    // Whatever the resolver prefers: where it is IPv6, nobody listens there.
    let mut program = Program::begin(&bench, name, b"x").await;
    let answered = program.receive_or_refused().await;
    assert!(
        matches!(answered, Ok(_) | Err(Refusal::Refused)),
        "{answered:?}"
    );
    assert_eq!(bench.record().await.host.unwrap().as_str(), "localhost");
}

#[tokio::test]
async fn flows_are_bounded_and_a_flood_has_no_records() {
    let limits = Limits {
        udp: UdpLimits {
            flows: 4,
            ..Limits::default().udp
        },
        ..Limits::default()
    };
    let mut bench = Bench::with(Engine::builder(Policy::default()).limits(limits));
    let to = echo().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut program = Program::begin(&bench, to, b"x").await;
        program.receive().await;
        held.push(program);
    }
    for _ in 0..100 {
        let mut program = Program::begin(&bench, to, b"x").await;
        assert_eq!(program.refused().await.0, Refusal::Busy);
    }
    assert_eq!(
        (bench.engine.live(), bench.engine.refused_flows()),
        (4, 100)
    );
    held[0].send(b"still here").await;
    assert_eq!(held[0].receive().await, b"still here");
    bench.engine.drain(Duration::from_secs(20)).await;
    for _ in 0..4 {
        assert_eq!(bench.record().await.outcome, Outcome::Ok);
    }
    assert!(bench.is_quiet());
}

#[tokio::test]
async fn draining_ends_flows_that_rest_and_cuts_off_those_that_do_not() {
    let mut bench = Bench::new(Policy::default());
    let to = echo().await;
    let mut resting = Program::begin(&bench, to, b"x").await;
    let mut busy = Program::begin(&bench, to, b"x").await;
    resting.receive().await;
    busy.receive().await;
    let engine = bench.engine.clone();
    let draining = tokio::spawn(async move { engine.drain(Duration::from_secs(2)).await });
    while !draining.is_finished() {
        busy.send(b"y").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(draining).await.unwrap(), Drained { aborted: 1 });
    let (first, second) = (bench.record().await, bench.record().await);
    assert_eq!(
        (first.outcome, first.client),
        (Outcome::Ok, resting.address().to_string())
    );
    assert_eq!(second.error.as_deref(), Some("the engine stopped"));
}

#[tokio::test]
async fn the_engines_own_datagrams_that_are_steered_back_are_a_loop() {
    let mut bench = Bench::new(Policy::default());
    let (socket, to) = server().await;
    let _program = Program::begin(&bench, to, b"x").await;
    let mut room = [0; 16];
    let (_, dial) = soon(socket.recv_from(&mut room)).await.unwrap();
    let mut back = Program::bound().await;
    steer(
        &bench,
        &mut back,
        ClientAddr(dial),
        Destination::addr(to),
        b"x",
    );
    assert_eq!(back.refused().await.0, Refusal::Loop);
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
    let own = (Ipv4Addr::LOCALHOST, 15_053).into();
    let mut bench = Bench::with(Engine::builder(Policy::default()).listener(own));
    let mut program = Program::begin(&bench, own, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Loop);
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
}
