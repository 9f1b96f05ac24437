//! Flows through a SOCKS5 relay. fast-socks5 is the oracle; a relay of the test's own does what a
//! proper one does not.
use std::net::{Ipv4Addr, SocketAddr};

use fast_socks5::server::{Socks5ServerProtocol, run_udp_proxy};
use steer_core::address::Destination;
use steer_core::policy::UpstreamKind;
use steer_core::steered::Refusal;
use steer_proxy::record::Outcome;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;

use super::bench;
use super::program::{Program, echo, server};
use crate::bench::{closed_port, soon, through};

/// A proxy by fast-socks5 that tells where it is; its datagrams go through it for good.
async fn proxy(reply: Ipv4Addr) -> SocketAddr {
    let (listener, address) = crate::bench::server().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let proxy = Socks5ServerProtocol::accept_no_auth(stream).await.unwrap();
                let (proxy, _, target) = proxy.read_command().await.unwrap();
                let local = Some(Ipv4Addr::LOCALHOST.into());
                run_udp_proxy(proxy, &target, local, reply.into(), local)
                    .await
                    .unwrap();
            });
        }
    });
    address
}

/// A relay whose datagrams the test writes.
async fn manual() -> (SocketAddr, oneshot::Receiver<(TcpStream, UdpSocket)>) {
    let (listener, address) = crate::bench::server().await;
    let (ready_tx, ready) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let proxy = Socks5ServerProtocol::accept_no_auth(stream).await.unwrap();
        let (proxy, _, _) = proxy.read_command().await.unwrap();
        let (socket, at) = server().await;
        let stream = proxy.reply_success(at).await.unwrap();
        let _ = ready_tx.send((stream, socket));
    });
    (address, ready)
}

#[tokio::test]
async fn datagrams_go_through_a_relay_wherever_it_says_that_it_is() {
    for reply in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let proxy = proxy(reply).await;
        let mut bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
        let to = echo().await;
        let mut program = Program::begin(&bench, to, b"first").await;
        assert_eq!(program.receive().await, b"first");
        // The oracle has room for no longer ones.
        for datagram in [&b""[..], &[1; 1200], &[2; 4000], b"last"] {
            program.send(datagram).await;
            assert!(
                program.receive().await == datagram,
                "{} bytes",
                datagram.len()
            );
        }
        let record = bench.record().await;
        assert_eq!(
            (record.outcome, record.upstream.as_str()),
            (Outcome::Ok, "corp")
        );
        let bytes = Some(5 + 1200 + 4000 + 4);
        assert_eq!((record.sent, record.received), (bytes, bytes));
    }
}

#[tokio::test]
async fn a_name_is_sent_as_a_name_and_only_its_first_answer_is_heard() {
    let (proxy, ready) = manual().await;
    let bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let name: Destination = "dns.example:5353".parse().unwrap();
    let mut program = Program::begin(&bench, name, b"x").await;
    let (_control, relay) = soon(ready).await.unwrap();
    let mut room = [0; 64];
    let (length, from) = soon(relay.recv_from(&mut room)).await.unwrap();
    assert_eq!(&room[..length], b"\0\0\0\x03\x0bdns.example\x14\xe9x");
    let answer = |host: u8, fragment, text: &[u8]| {
        [&[0, 0, fragment, 1, 192, 0, 2, host, 0x14, 0xe9], text].concat()
    };
    for datagram in [
        answer(1, 0, b"one"),
        answer(2, 0, b"a stranger"),
        answer(1, 1, b"a fragment"),
        answer(1, 0, b"")[..7].to_vec(),
        answer(1, 0, b"two"),
    ] {
        relay.send_to(&datagram, from).await.unwrap();
    }
    assert_eq!(program.receive().await, b"one");
    assert_eq!(program.receive().await, b"two");
    let long = vec![7; 65_497];
    relay.send_to(&answer(1, 0, &long), from).await.unwrap();
    assert!(program.receive().await == long);
    // With the relay's header it is longer than any packet.
    program.send(&vec![7; 65_507]).await;
    assert_eq!(program.refused().await.0, Refusal::TooLarge);
    program.send(b"shorter").await;
    let length = soon(relay.recv(&mut room)).await.unwrap();
    assert!(room[..length].ends_with(b"shorter"));
}

#[tokio::test]
async fn a_relay_that_is_given_up_is_an_error_and_never_direct() {
    let (proxy, ready) = manual().await;
    let mut bench = bench(through("corp", UpstreamKind::Socks5, proxy, None));
    let (socket, to) = server().await;
    let mut program = Program::begin(&bench, to, b"x").await;
    let (control, relay) = soon(ready).await.unwrap();
    soon(relay.recv_from(&mut [0; 64])).await.unwrap();
    drop(control);
    assert_eq!(program.refused().await.0, Refusal::Upstream);
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Error, "corp")
    );
    assert_eq!(record.error.as_deref(), Some("the proxy gave the flow up"));
    assert!(socket.try_recv(&mut [0; 9]).is_err());
}

#[tokio::test]
async fn a_dead_proxy_or_one_without_relaying_is_an_error_and_never_direct() {
    let (_held, dead) = closed_port();
    let (listener, unable) = crate::bench::server().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let proxy = Socks5ServerProtocol::accept_no_auth(stream).await.unwrap();
        let (proxy, _, _) = proxy.read_command().await.unwrap();
        let why = fast_socks5::ReplyError::CommandNotSupported;
        proxy.reply_error(&why).await.unwrap();
    });
    for (address, refusal, outcome) in [
        (dead, Refusal::Refused, Outcome::Refused),
        (unable, Refusal::Upstream, Outcome::Error),
    ] {
        let mut bench = bench(through("corp", UpstreamKind::Socks5, address, None));
        let (socket, to) = server().await;
        let mut program = Program::begin(&bench, to, b"x").await;
        assert_eq!(program.refused().await.0, refusal);
        let record = bench.record().await;
        assert_eq!(
            (record.outcome, record.upstream.as_str()),
            (outcome, "corp")
        );
        assert!(socket.try_recv(&mut [0; 9]).is_err());
    }
}
