//! The relay between real sockets: what one side does, the other side sees.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use steer_core::address::HostName;
use steer_core::policy::App;
use steer_proxy::relay::{End, Expired, Relay, RelayLimits, Side, Traffic};
use steer_proxy::sniff::Sniffer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A program and a server with a relay's two legs between them.
struct Line {
    program: TcpStream,
    client: TcpStream,
    upstream: TcpStream,
    server: TcpStream,
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dial, listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

impl Line {
    async fn new() -> Self {
        let (program, client) = connected().await;
        let (upstream, server) = connected().await;
        Self {
            program,
            client,
            upstream,
            server,
        }
    }

    fn relayed(self) -> (TcpStream, TcpStream, JoinHandle<End>, Arc<Traffic>) {
        self.relayed_within(RelayLimits::default())
    }

    fn relayed_within(
        self,
        limits: RelayLimits,
    ) -> (TcpStream, TcpStream, JoinHandle<End>, Arc<Traffic>) {
        let Self {
            program,
            client,
            upstream,
            server,
        } = self;
        let traffic = Arc::new(Traffic::default());
        let counted = Arc::clone(&traffic);
        let relay =
            tokio::spawn(
                async move { Relay::new(client, upstream, &counted).limits(limits).await },
            );
        (program, server, relay, traffic)
    }
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), event)
        .await
        .expect("it happens before the deadline")
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// Bytes that differ at every position within a pipe's size, and between seeds.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn read_error(stream: &mut TcpStream) -> (Vec<u8>, io::Error) {
    let mut bytes = Vec::new();
    let error = soon(stream.read_to_end(&mut bytes))
        .await
        .expect_err("the stream breaks");
    (bytes, error)
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    for client_first in [true, false] {
        let (program, server, relay, traffic) = Line::new().await.relayed();
        let (mut first, mut second) = if client_first {
            (program, server)
        } else {
            (server, program)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut asked = String::new();
        soon(second.read_to_string(&mut asked)).await.unwrap();
        assert_eq!(asked, "question");
        second.write_all(b"a longer answer").await.unwrap();
        drop(second);
        let mut answer = String::new();
        soon(first.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, "a longer answer");
        drop(first);
        assert!(matches!(soon(relay).await.unwrap(), End::Closed));
        let counts = (traffic.sent(), traffic.received());
        assert_eq!(counts, if client_first { (8, 15) } else { (15, 8) });
    }
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset_after_the_data_before_it() {
    for client_first in [true, false] {
        let (program, server, relay, _) = Line::new().await.relayed();
        let (mut first, mut second) = if client_first {
            (program, server)
        } else {
            (server, program)
        };
        first.write_all(b"last words").await.unwrap();
        let mut heard = [0; 10];
        soon(second.read_exact(&mut heard)).await.unwrap();
        reset(first);
        let (_, error) = read_error(&mut second).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let by = if client_first {
            Side::Client
        } else {
            Side::Upstream
        };
        assert!(matches!(soon(relay).await.unwrap(), End::Reset { by: side } if side == by));
    }
}

#[tokio::test]
async fn bulk_in_both_directions_arrives_unchanged() {
    let (program, server, relay, traffic) = Line::new().await.relayed();
    let length = 48 << 20;
    let up = pattern(1, length);
    let down = pattern(2, length);
    let (mut program_read, mut program_write) = program.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let (sent, answered) = (up.clone(), down.clone());
    tokio::spawn(async move { program_write.write_all(&sent).await.unwrap() });
    tokio::spawn(async move { server_write.write_all(&answered).await.unwrap() });
    let (mut at_server, mut at_program) = (Vec::new(), Vec::new());
    let (one, two) = soon(async {
        tokio::join!(
            server_read.read_to_end(&mut at_server),
            program_read.read_to_end(&mut at_program)
        )
    })
    .await;
    one.unwrap();
    two.unwrap();
    assert!(at_server == up && at_program == down);
    assert!(matches!(soon(relay).await.unwrap(), End::Closed));
    assert_eq!(
        (traffic.sent(), traffic.received()),
        (length as u64, length as u64)
    );
}

#[tokio::test]
async fn bytes_of_an_aborted_bulk_connection_never_reach_another_one() {
    let (program, server, relay, traffic) = Line::new().await.relayed();
    let flood = tokio::spawn(async move {
        let mut server = server;
        while server.write_all(&[0xee; 1 << 16]).await.is_ok() {}
    });
    // Nobody reads: the direction ends up stalled with bytes in its pipe.
    soon(async {
        let mut seen = u64::MAX;
        while seen < 1 << 20 || seen != traffic.received() {
            seen = traffic.received();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    relay.abort();
    soon(flood).await.unwrap();
    drop(program);

    let (mut program, mut server, relay, _) = Line::new().await.relayed();
    let down = pattern(3, 16 << 20);
    let sent = down.clone();
    tokio::spawn(async move { server.write_all(&sent).await.unwrap() });
    let mut got = Vec::new();
    soon(program.read_to_end(&mut got)).await.unwrap();
    assert!(got == down);
    drop(program);
    assert!(matches!(soon(relay).await.unwrap(), End::Closed));
}

#[tokio::test]
async fn a_reset_is_seen_behind_a_receiver_that_takes_no_more() {
    let (program, server, relay, _) = Line::new().await.relayed();
    // Fills the program's receive buffer, the relay and the server's send buffer.
    let full = timeout(Duration::from_millis(500), async {
        loop {
            server.writable().await.unwrap();
            let _ = server.try_write(&[0; 1 << 16]);
        }
    });
    assert!(full.await.is_err());
    reset(server);
    assert!(matches!(
        soon(relay).await.unwrap(),
        End::Reset { by: Side::Upstream }
    ));
    drop(program);
}

#[tokio::test]
async fn dropping_a_relay_resets_both_sides() {
    let (mut program, mut server, relay, _) = Line::new().await.relayed();
    program.write_all(b"x").await.unwrap();
    soon(server.read_u8()).await.unwrap();
    relay.abort();
    assert_eq!(
        read_error(&mut program).await.1.kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        read_error(&mut server).await.1.kind(),
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_socket_that_resets_when_killed_still_ends_in_order() {
    let line = Line::new().await;
    for leg in [&line.client, &line.upstream] {
        SockRef::from(leg).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let (mut program, mut server, relay, _) = line.relayed();
    program.write_all(b"x").await.unwrap();
    program.shutdown().await.unwrap();
    server.write_all(&[7; 200_000]).await.unwrap();
    server.shutdown().await.unwrap();
    assert!(matches!(soon(relay).await.unwrap(), End::Closed));
    let (mut at_server, mut at_program) = (Vec::new(), Vec::new());
    soon(server.read_to_end(&mut at_server)).await.unwrap();
    soon(program.read_to_end(&mut at_program)).await.unwrap();
    assert_eq!((at_server.len(), at_program.len()), (1, 200_000));
}

#[tokio::test]
async fn a_silent_connection_ends_in_a_reset_after_its_idle_time() {
    let limits = RelayLimits {
        idle: Some(Duration::from_millis(200)),
        half_close: None,
    };
    let (mut program, mut server, relay, _) = Line::new().await.relayed_within(limits);
    assert!(matches!(
        soon(relay).await.unwrap(),
        End::Timeout(Expired::Idle)
    ));
    assert_eq!(
        read_error(&mut program).await.1.kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        read_error(&mut server).await.1.kind(),
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn the_half_close_reaper_ends_silent_connections_and_spares_active_ones() {
    let limits = RelayLimits {
        idle: None,
        half_close: Some(Duration::from_millis(400)),
    };
    let (mut program, mut server, relay, _) = Line::new().await.relayed_within(limits);
    program.shutdown().await.unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for beat in 0..75 {
        pace.tick().await;
        server.write_u8(beat).await.unwrap();
        assert_eq!(soon(program.read_u8()).await.unwrap(), beat);
    }
    assert!(!relay.is_finished());
    assert!(matches!(
        soon(relay).await.unwrap(),
        End::Timeout(Expired::HalfClosed)
    ));
    assert_eq!(
        read_error(&mut program).await.1.kind(),
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn prefixes_come_first_and_the_tap_sees_what_passes() {
    let Line {
        mut program,
        client,
        upstream,
        mut server,
    } = Line::new().await;
    let relay = tokio::spawn(async move {
        let (traffic, mut sniffer) = (Traffic::default(), Sniffer::default());
        let prefix = b"GET / HT".to_vec();
        sniffer.push(&prefix);
        let end = Relay::new(client, upstream, &traffic)
            .client_prefix(prefix)
            .upstream_prefix(b"hello ".to_vec())
            .tap(&mut sniffer)
            .await;
        (end, sniffer.conclude(), traffic.sent())
    });
    program
        .write_all(b"TP/1.1\r\nHost: tap.example\r\n\r\n")
        .await
        .unwrap();
    program.shutdown().await.unwrap();
    server.write_all(b"world").await.unwrap();
    server.shutdown().await.unwrap();
    let (mut at_server, mut at_program) = (String::new(), String::new());
    soon(server.read_to_string(&mut at_server)).await.unwrap();
    soon(program.read_to_string(&mut at_program)).await.unwrap();
    assert_eq!(at_server, "GET / HTTP/1.1\r\nHost: tap.example\r\n\r\n");
    assert_eq!(at_program, "hello world");
    let (end, sniffed, sent) = soon(relay).await.unwrap();
    assert!(matches!(end, End::Closed));
    assert_eq!(
        (sniffed.app, sniffed.host.as_ref().map(HostName::as_str)),
        (App::Http1, Some("tap.example"))
    );
    assert_eq!(sent, at_server.len() as u64);
}

#[tokio::test]
async fn streams_that_are_no_sockets_are_relayed_with_half_close() {
    let (mut program, client) = duplex(1000);
    let (upstream, mut server) = duplex(1000);
    let relay = tokio::spawn(async move {
        let traffic = Traffic::default();
        Relay::new(Box::new(client), Box::new(upstream), &traffic).await
    });
    let up = pattern(4, 300_000);
    let sent = up.clone();
    let program = tokio::spawn(async move {
        program.write_all(&sent).await.unwrap();
        program.shutdown().await.unwrap();
        let mut answer = String::new();
        program.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let mut got = Vec::new();
    soon(server.read_to_end(&mut got)).await.unwrap();
    assert!(got == up);
    server.write_all(b"thanks").await.unwrap();
    drop(server);
    assert_eq!(soon(program).await.unwrap(), "thanks");
    assert!(matches!(soon(relay).await.unwrap(), End::Closed));
}

#[tokio::test]
async fn the_future_of_a_connection_is_small() {
    let Line {
        client, upstream, ..
    } = Line::new().await;
    let traffic = Traffic::default();
    let relay = Relay::new(client, upstream, &traffic);
    let size = size_of_val(&relay);
    assert!(size <= 320, "{size} bytes");
}
