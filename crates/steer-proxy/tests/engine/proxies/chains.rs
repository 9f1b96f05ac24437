//! Proxies that are reached through each other.
use steer_core::policy::{Upstream, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, EngineError};
use steer_proxy::record::Outcome;
use tokio::sync::mpsc;

use super::stage::{Stage, all_through, echo, exchange, upstream};
use crate::bench::{Bench, Told, closed_port};
use crate::udp::program::{Program, echo as udp_echo};

const KINDS: [UpstreamKind; 2] = [UpstreamKind::Socks5, UpstreamKind::Http];

fn via(name: &str, upstream: Upstream) -> Upstream {
    Upstream {
        via: Some(name.to_owned()),
        ..upstream
    }
}

#[tokio::test]
async fn each_proxy_is_asked_for_the_next_and_the_last_one_for_the_destination() {
    for (first, second, third) in KINDS.into_iter().flat_map(|first| {
        KINDS
            .into_iter()
            .flat_map(move |second| KINDS.map(|third| (first, second, third)))
    }) {
        let mut far = Stage::new(first, None).await;
        let mut middle = Stage::new(second, None).await;
        let mut near = Stage::new(third, None).await;
        let mut bench = Bench::new(all_through(vec![
            via("middle", upstream("far", first, far.address)),
            via("near", upstream("middle", second, middle.address)),
            upstream("near", third, near.address),
        ]));
        let to = echo().await;
        let program = bench.program(to).await;
        assert_eq!(exchange(program, b"through three").await, b"through three");
        assert_eq!(near.asked().await, middle.address.to_string());
        assert_eq!(middle.asked().await, far.address.to_string());
        assert_eq!(far.asked().await, to.to_string());
        let record = bench.record().await;
        assert_eq!(
            (record.outcome, record.upstream.as_str()),
            (Outcome::Ok, "far")
        );
    }
}

#[tokio::test]
async fn a_chain_that_breaks_in_the_middle_is_told_as_what_it_is() {
    let near = Stage::new(UpstreamKind::Socks5, None).await;
    let (_kept, nobody) = closed_port();
    let mut bench = Bench::new(all_through(vec![
        via("near", upstream("far", UpstreamKind::Http, nobody)),
        upstream("near", UpstreamKind::Socks5, near.address),
    ]));
    let (told_tx, mut told) = mpsc::unbounded_channel();
    let to = echo().await;
    let _program = bench.program_with(to, Box::new(Told(told_tx))).await;
    let record = bench.record().await;
    assert_eq!(told.recv().await, Some(Err(Refusal::Refused)));
    let error = record.error.unwrap();
    assert!(error.contains("onnection refused"), "{error}");
    let states = bench.engine.upstreams();
    assert_eq!(states[0].endpoints[0].failures, 1, "it is the one to blame");
    assert_eq!(states[1].endpoints[0].failures, 0);
}

#[tokio::test]
async fn datagrams_go_through_two_relays_in_each_other() {
    let mut far = Stage::new(UpstreamKind::Socks5, None).await;
    let mut near = Stage::new(UpstreamKind::Socks5, None).await;
    let bench = Bench::new(all_through(vec![
        via("near", upstream("far", UpstreamKind::Socks5, far.address)),
        upstream("near", UpstreamKind::Socks5, near.address),
    ]));
    let to = udp_echo().await;
    let mut program = Program::begin(&bench, to, b"first").await;
    assert_eq!(program.receive().await, b"first");
    for datagram in [&b""[..], &[1; 1200], b"last"] {
        program.send(datagram).await;
        assert_eq!(program.receive().await, datagram);
    }
    assert_eq!(near.asked().await, "datagrams");
    assert_eq!(near.asked().await, far.address.to_string());
    assert_eq!(far.asked().await, "datagrams");
}

#[tokio::test]
async fn datagrams_are_refused_where_one_of_the_chain_has_none() {
    let far = Stage::new(UpstreamKind::Socks5, None).await;
    let near = Stage::new(UpstreamKind::Http, None).await;
    let mut bench = Bench::new(all_through(vec![
        via("near", upstream("far", UpstreamKind::Socks5, far.address)),
        upstream("near", UpstreamKind::Http, near.address),
    ]));
    let mut program = Program::begin(&bench, udp_echo().await, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Upstream);
    let error = bench.record().await.error.unwrap();
    assert_eq!(error, "an HTTP proxy carries no UDP");
}

#[tokio::test]
async fn chains_that_lead_nowhere_are_refused_before_anything_is_dialled() {
    let address = "192.0.2.1:1".parse().unwrap();
    let socks = |name: &str, next: &str| via(next, upstream(name, UpstreamKind::Socks5, address));
    let build = |upstreams| Engine::builder(all_through(upstreams)).build().unwrap_err();
    let unknown = build(vec![socks("a", "b")]);
    assert!(
        matches!(unknown, EngineError::UnknownVia { .. }),
        "{unknown}"
    );
    let circle = build(vec![socks("a", "b"), socks("b", "a")]);
    assert!(matches!(circle, EngineError::Circle(_)), "{circle}");
}
