//! Clients that send much, or begin much, where little is done with it.
use fast_socks5::server::Socks5ServerProtocol;
use steer_core::address::{ClientAddr, Destination};
use steer_core::policy::{App, Policy, UpstreamKind};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, Limits, UdpLimits};
use tokio::sync::oneshot;

use super::program::{Program, bring, echo, server};
use crate::bench::{Bench, soon, through};

#[tokio::test]
async fn what_a_flow_sends_to_a_silent_proxy_is_taken_and_little_of_it_is_held() {
    let (listener, proxy) = crate::bench::server().await;
    let (_held, unused) = server().await;
    let (answer_tx, answer) = oneshot::channel::<()>();
    let relaying = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer.await.unwrap();
        let proxy = Socks5ServerProtocol::accept_no_auth(stream).await.unwrap();
        let (proxy, _, _) = proxy.read_command().await.unwrap();
        let (socket, at) = server().await;
        let control = proxy.reply_success(at).await.unwrap();
        (control, socket)
    });
    let bench = Bench::new(through("corp", UpstreamKind::Socks5, proxy, None));
    let mut program = Program::begin(&bench, unused, &[0; 1000]).await;
    for number in 1..=200 {
        program.send(&[number; 1000]).await;
        program.taken().await;
    }
    answer_tx.send(()).unwrap();
    let (_control, relay) = soon(relaying).await.unwrap();
    let mut room = [0; 2000];
    let mut numbers = Vec::new();
    let mut from = None;
    while numbers.last() != Some(&255) {
        let (length, client) = soon(relay.recv_from(&mut room)).await.unwrap();
        if from.replace(client).is_none() {
            // The way is open, so this one passes.
            program.send(&[255; 10]).await;
        }
        numbers.push(room[length - 1]);
    }
    let expected: Vec<u8> = (0..64).chain([255]).collect();
    assert_eq!(numbers, expected);
    relay
        .send_to(b"\0\0\0\x01\0\0\0\0\0\x01answer", from.unwrap())
        .await
        .unwrap();
    assert_eq!(program.receive().await, b"answer");
}

#[tokio::test]
async fn flows_and_dns_conversations_leave_each_other_their_places() {
    let limits = Limits {
        udp: UdpLimits {
            flows: 2,
            conversations: 2,
            ..Limits::default().udp
        },
        ..Limits::default()
    };
    let bench = Bench::with(Engine::builder(Policy::default()).limits(limits));
    let to = echo().await;
    let mut programs = Vec::new();
    for app in [Some(App::Dns), None, Some(App::Dns), None] {
        let mut program = Program::bound().await;
        let client = ClientAddr(program.address());
        bring(
            &bench,
            &mut program,
            client,
            Destination::addr(to),
            b"x",
            app,
        );
        program.taken().await;
        programs.push(program);
    }
    for app in [Some(App::Dns), None] {
        let mut program = Program::bound().await;
        let client = ClientAddr(program.address());
        bring(
            &bench,
            &mut program,
            client,
            Destination::addr(to),
            b"x",
            app,
        );
        assert_eq!(program.refused().await.0, Refusal::Busy, "{app:?}");
    }
    assert_eq!((bench.engine.live(), bench.engine.refused_flows()), (4, 2));
}
