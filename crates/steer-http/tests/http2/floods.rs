//! What a client may not do to a session.

use std::time::Duration;

use h2::Reason;
use http::HeaderValue;
use steer_http::{Limits, SessionError, Stage, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Plan, get, status, whole, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn plan() -> Plan {
    Plan::served(|_, mut respond| async move {
        let _ = respond.send_response(status(200), true);
    })
}

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short one")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A head that is indexed in the static table: GET, http and `/`.
const HEAD: [u8; 3] = [0x82, 0x86, 0x84];

#[tokio::test]
async fn a_flood_of_resets_ends_the_session_in_a_call_for_calm() {
    let mut rig = plan().begin().await;
    let mut sent = 0;
    loop {
        let Ok(mut requests) = rig.requests.clone().ready().await else {
            break;
        };
        let Ok((response, mut stream)) = requests.send_request(get("/"), true) else {
            break;
        };
        sent += 1;
        assert!(sent < 100_000, "nobody cares");
        stream.send_reset(Reason::CANCEL);
        drop(response);
        tokio::task::yield_now().await;
    }
    let over = within(&mut rig.connection).await.expect("no panic");
    assert_eq!(
        over.expect_err("a word").reason(),
        Some(Reason::ENHANCE_YOUR_CALM)
    );
    let over = rig.running.over().await;
    assert!(matches!(over, Err(SessionError::Flood(_))), "{over:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_431_and_recorded_without_its_fields() {
    let mut plan = plan();
    plan.decide = Box::new(|request| {
        let heavy = request.target != "/";
        assert_eq!(
            request.fields.is_empty(),
            heavy || request.fields.is_empty()
        );
        Verdict::Forward(0)
    });
    let mut rig = plan.begin().await;
    let limits = Limits::default();
    let mut long = get("/long");
    let value = HeaderValue::from_str(&"v".repeat(limits.head / 4)).expect("a value");
    let mut many = get("/many");
    for _ in 0..5 {
        long.headers_mut().append("x-long", value.clone());
    }
    for _ in 0..=limits.fields {
        many.headers_mut()
            .append("x-many", HeaderValue::from_static("v"));
    }
    for request in [long, many] {
        let path = request.uri().path().to_owned();
        let (response, _) = rig.open(request, true).await;
        let response = within(whole(response)).await.expect("a response");
        assert_eq!(response.head.status(), 431, "{path}");
        let (ended, end) = rig.running.ended().await;
        assert_eq!((ended, end.status), (path, Some(431)));
        assert!(end.error.is_some());
    }
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 200);
}

#[tokio::test]
async fn a_compressed_bomb_is_refused_without_being_unpacked() {
    let (mut client, running) = plan().begin_raw();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // One long field is put into the table, and named by one byte as often as a frame can.
    let mut head = HEAD.to_vec();
    head.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    head.extend([b'v'; 4000]);
    bytes.extend(frame(1, 4, 1, &head));
    let mut bomb = HEAD.to_vec();
    bomb.extend([0xbe; 16_000]);
    bytes.extend(frame(1, 5, 3, &bomb));
    let _ = client.write_all(&bytes).await;
    let _ = within(client.read_to_end(&mut Vec::new())).await;
    let over = running.over().await;
    assert!(over.is_err(), "{over:?}");
}

#[tokio::test]
async fn a_head_without_an_end_is_refused() {
    let (mut client, running) = plan().begin_raw();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 0, 1, &HEAD));
    client.write_all(&bytes).await.expect("sent");
    let more = frame(9, 0, 1, &[0x00, 1, b'x', 1, b'v'].repeat(1000));
    let mut sent = 0;
    while client.write_all(&more).await.is_ok() {
        sent += more.len();
        assert!(sent < 64 * 1024 * 1024, "nobody cares");
    }
    assert!(running.over().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_whose_answers_nobody_reads_is_not_taken_in() {
    let (ping, settings) = (frame(6, 0, 0, &[0; 8]), frame(4, 0, 0, &[]));
    for one in [ping, settings] {
        let (mut client, running) = plan().begin_raw();
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        client.write_all(&bytes).await.expect("sent");
        let many = one.repeat(100);
        let mut sent = 0;
        let flood = async {
            while client.write_all(&many).await.is_ok() {
                sent += many.len();
            }
        };
        // Time is paused: it passes only when nothing is taken any more.
        let _ = tokio::time::timeout(Duration::from_secs(1), flood).await;
        assert!(sent < 1024 * 1024, "{sent} bytes were taken");
        drop(client);
        let _ = running.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_begin_is_not_waited_for() {
    for begun in [0, 1, PREFACE.len() - 1] {
        let mut plan = plan();
        plan.prefix = PREFACE[..begun].to_vec();
        let (_client, running) = plan.begin_raw();
        let over = running.over().await;
        assert!(
            matches!(over, Err(SessionError::Slow(Stage::Head))),
            "{over:?}"
        );
    }
}

#[tokio::test]
async fn what_was_read_before_counts_and_what_is_no_http2_is_refused() {
    let mut other = plan();
    other.prefix = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n".to_vec();
    let (_client, running) = other.begin_raw();
    let over = running.over().await;
    assert!(matches!(over, Err(SessionError::Http2 { .. })), "{over:?}");

    let mut read = plan();
    read.prefix = PREFACE.to_vec();
    read.prefix.extend(frame(4, 0, 0, &[]));
    read.prefix.extend(frame(1, 5, 1, &HEAD));
    let (mut client, mut running) = read.begin_raw();
    let (path, end) = running.ended().await;
    assert_eq!((path.as_str(), end.status), ("/", Some(200)));
    client.shutdown().await.expect("an end");
    let _ = running.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_streams_ends_in_time() {
    let rig = plan().begin().await;
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 200);
    let before = tokio::time::Instant::now();
    let idle = Limits::default().idle;
    let over = tokio::time::timeout(idle * 2, rig.connection).await;
    over.expect("in time")
        .expect("no panic")
        .expect("an orderly end");
    assert!(before.elapsed() >= idle);
}

#[tokio::test]
async fn a_gateway_that_panics_loses_its_stream_alone() {
    let mut plan = plan();
    plan.decide = Box::new(|request| {
        assert_ne!(request.target, "/panic", "as it is to");
        Verdict::Forward(0)
    });
    let rig = plan.begin().await;
    rig.get("/panic").await.expect_err("a reset");
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 200);
}
