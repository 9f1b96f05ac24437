//! How streams and connections end before their time, and what becomes of the other side.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use http::{HeaderMap, HeaderValue};
use steer_http::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

use crate::rig::{Dial, Plan, drain, get, reason, status, whole, with, within};

/// What streams are reset with.
const REASONS: [Reason; 4] = [
    Reason::CANCEL,
    Reason::REFUSED_STREAM,
    Reason::INTERNAL_ERROR,
    Reason::ENHANCE_YOUR_CALM,
];

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_server_with_its_reason() {
    let (gone, mut went) = unbounded_channel();
    let come = Arc::new(Notify::new());
    let came = come.clone();
    let plan = Plan::served(move |request, mut respond| {
        let (gone, came) = (gone.clone(), came.clone());
        async move {
            let reset = if request.uri().path() == "/before" {
                came.notify_one();
                poll_fn(|cx| respond.poll_reset(cx)).await
            } else {
                let mut stream = respond.send_response(status(200), false).expect("sent");
                stream
                    .send_data(Bytes::from_static(b"a"), false)
                    .expect("sent");
                poll_fn(|cx| stream.poll_reset(cx)).await
            };
            let _ = gone.send(reset.expect("a reset"));
        }
    });
    let mut rig = plan.begin().await;
    for reason in REASONS {
        let (_response, mut stream) = rig.open(with("POST", "/before"), false).await;
        within(come.notified()).await;
        stream.send_reset(reason);
        assert_eq!(within(went.recv()).await, Some(reason));
        let (_, end) = rig.running.ended().await;
        assert_eq!(end.status, None);
        assert!(end.error.expect("an error").contains("client"));

        let (response, mut stream) = rig.open(with("POST", "/within"), false).await;
        let mut body = within(response).await.expect("a response").into_body();
        within(body.data()).await.expect("a byte").expect("whole");
        stream.send_reset(reason);
        assert_eq!(within(went.recv()).await, Some(reason));
        let (_, end) = rig.running.ended().await;
        assert_eq!((end.status, end.received), (Some(200), 1));
        assert!(end.error.expect("an error").contains("client"));
    }
}

#[tokio::test]
async fn a_reset_of_the_server_reaches_the_client_with_its_reason() {
    let plan = Plan::served(move |request, mut respond| async move {
        let path = request.uri().path().to_owned();
        let (when, code) = path[1..].split_once('/').expect("two parts");
        let reason = Reason::from(code.parse::<u32>().expect("a code"));
        if when == "before" {
            respond.send_reset(reason);
            return;
        }
        let mut stream = respond.send_response(status(200), false).expect("sent");
        stream
            .send_data(Bytes::from_static(b"a"), false)
            .expect("sent");
        // The client says that it has come.
        drain(&mut request.into_body()).await.expect("a body");
        stream.send_reset(reason);
    });
    let mut rig = plan.begin().await;
    for expected in REASONS {
        let code = u32::from(expected);
        let error = rig
            .get(&format!("/before/{code}"))
            .await
            .expect_err("a reset");
        assert_eq!(reason(&error), Some(expected));
        let (_, end) = rig.running.ended().await;
        assert_eq!(end.status, None);
        assert!(end.error.expect("an error").contains("server"));

        let request = with("POST", &format!("/within/{code}"));
        let (response, mut stream) = rig.open(request, false).await;
        let mut body = within(response).await.expect("a response").into_body();
        assert_eq!(
            within(body.data()).await.expect("a byte").expect("whole"),
            "a"
        );
        stream.send_data(Bytes::new(), true).expect("sent");
        let error = within(drain(&mut body)).await.expect_err("a reset");
        assert_eq!(reason(&error), Some(expected));
        assert!(
            rig.running
                .ended()
                .await
                .1
                .error
                .expect("an error")
                .contains("server")
        );
    }
}

#[tokio::test]
async fn an_early_end_of_a_call_loses_nothing_of_its_response() {
    const SIZE: usize = 300_000;
    let plan = Plan::served(move |request, mut respond| async move {
        let mut stream = respond.send_response(status(200), false).expect("sent");
        stream.send_data(vec![1; SIZE].into(), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        stream.send_trailers(trailers).expect("sent");
        // The request has not ended: its stream is reset without an error.
        drop(request);
    });
    let mut rig = plan.begin().await;
    let (response, mut stream) = rig.open(with("POST", "/"), false).await;
    let response = within(whole(response)).await.expect("a response");
    assert_eq!(response.body.len(), SIZE);
    assert_eq!(response.trailers.expect("trailers")["grpc-status"], "7");
    let reset = within(poll_fn(|cx| stream.poll_reset(cx))).await;
    assert_eq!(reset.expect("a reset"), Reason::NO_ERROR);
    let (_, end) = rig.running.ended().await;
    assert_eq!((end.received, end.error), (SIZE as u64, None));
}

#[tokio::test]
async fn a_server_that_goes_away_finishes_its_streams_and_others_take_a_new_connection() {
    let on = Arc::new(Notify::new());
    let go = on.clone();
    let plan = Plan::dialled(Box::new(move |_| {
        let (ours, theirs) = duplex(64 * 1024);
        let go = go.clone();
        tokio::spawn(async move {
            let mut connection = server::handshake(theirs).await.expect("a handshake");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let slow = request.uri().path() == "/slow";
                let go = go.clone();
                tokio::spawn(async move {
                    if slow {
                        go.notified().await;
                    }
                    let _ = respond.send_response(status(200), true);
                });
                connection.graceful_shutdown();
            }
        });
        Ok(Box::new(ours))
    }));
    let rig = plan.begin().await;
    let (slow, _) = rig.open(get("/slow"), true).await;
    for _ in 0..20 {
        assert_eq!(rig.get("/").await.expect("a response").head.status(), 200);
    }
    on.notify_one();
    assert_eq!(within(slow).await.expect("a response").status(), 200);
    assert!(rig.running.desk.dialled.load(Ordering::SeqCst) > 1);
}

/// Has the first connection be a script, and the others be served.
fn first<F>(script: impl Fn(DuplexStream) -> F + Send + Sync + 'static, then: Dial) -> Dial
where
    F: Future<Output = ()> + Send + 'static,
{
    let dials = AtomicUsize::new(0);
    Box::new(move |way| {
        if dials.fetch_add(1, Ordering::SeqCst) > 0 {
            return then(way);
        }
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(script(theirs));
        Ok(Box::new(ours))
    })
}

#[tokio::test]
async fn a_request_that_no_server_looked_at_is_sent_to_another() {
    let mut plan = Plan::served(|request, mut respond| async move {
        let (body, _) = drain(&mut request.into_body()).await.expect("a body");
        let mut stream = respond.send_response(status(200), false).expect("sent");
        stream.send_data(body.into(), true).expect("sent");
    });
    plan.dial = first(
        |mut stream| async move {
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.expect("a request");
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            stream.write_all(&settings).await.expect("sent");
            // Going away, the last stream looked at being none, without an error.
            let away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            stream.write_all(&away).await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        },
        plan.dial,
    );
    let rig = plan.begin().await;
    let (response, mut stream) = rig
        .open(with("POST", "/a-path-that-fills-the-head"), false)
        .await;
    // The body comes when the first server has gone.
    let again = async {
        while rig.running.desk.dialled.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
    stream
        .send_data(Bytes::from_static(b"a body"), true)
        .expect("sent");
    let response = within(whole(response)).await.expect("a response");
    assert_eq!(response.body, b"a body");
}

#[tokio::test]
async fn a_server_that_speaks_another_protocol_or_none_is_a_502() {
    for (said, told) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "does not speak HTTP/2",
        ),
        (&b""[..], "broke"),
    ] {
        let mut plan = Plan::default();
        plan.dial = first(
            move |mut stream| async move {
                let mut some = [0; 9];
                stream.read_exact(&mut some).await.expect("a preface");
                stream.write_all(said).await.expect("sent");
            },
            plan.dial,
        );
        let mut rig = plan.begin().await;
        let response = rig.get("/").await.expect("a response");
        assert_eq!(response.head.status(), 502);
        let text = String::from_utf8(response.body).expect("a text");
        assert!(text.contains(told), "{text}");
        let (_, end) = rig.running.ended().await;
        assert_eq!(end.status, Some(502));
        assert!(end.error.is_some());
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_to_is_answered_for() {
    let refused = Refused::plain(504, "it did not answer in time");
    let plan = Plan::dialled(Box::new(move |_| Err(refused.clone())));
    let mut rig = plan.begin().await;
    for tries in 1..4 {
        assert_eq!(rig.get("/").await.expect("a response").head.status(), 504);
        assert_eq!(rig.running.desk.dialled.load(Ordering::SeqCst), tries);
        assert_eq!(rig.running.ended().await.1.status, Some(504));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_has_its_streams_reset_and_the_session_end() {
    let (gone, mut went) = unbounded_channel();
    let plan = Plan::served(move |_, mut respond| {
        let gone = gone.clone();
        async move {
            let _ = gone.send("come");
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
            let _ = gone.send("gone");
        }
    });
    let mut rig = plan.begin().await;
    let _open = rig.open(get("/"), true).await;
    assert_eq!(within(went.recv()).await, Some("come"));
    rig.connection.abort();
    assert_eq!(within(went.recv()).await, Some("gone"));
    assert!(rig.running.ended().await.1.error.is_some());
    let _ = rig.running.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_drained_finishes_its_streams_and_takes_no_more() {
    let (come, mut came) = unbounded_channel();
    let on = Arc::new(Notify::new());
    let go = on.clone();
    let plan = Plan::served(move |_, mut respond| {
        let (come, go) = (come.clone(), go.clone());
        async move {
            let _ = come.send(());
            go.notified().await;
            respond.send_response(status(200), true).expect("sent");
        }
    });
    let mut rig = plan.begin().await;
    let (response, _) = rig.open(get("/"), true).await;
    within(came.recv()).await.expect("a request");
    rig.running.drain();
    // The client is told, and opens no more.
    let mut requests = rig.requests.clone();
    let told = async {
        while poll_fn(|cx| requests.poll_ready(cx)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(told).await;
    // However long they take.
    tokio::time::sleep(Duration::from_secs(60)).await;
    on.notify_one();
    assert_eq!(within(response).await.expect("a response").status(), 200);
    rig.running.over().await.expect("an orderly end");
    within(rig.connection)
        .await
        .expect("no panic")
        .expect("an orderly end");
}
