//! Streams at a time, and both directions of one at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server;
use http::{HeaderMap, HeaderValue};
use steer_http::Verdict;
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use crate::rig::{Plan, drain, get, status, whole, with, within};

#[tokio::test]
async fn a_hundred_streams_are_served_at_a_time_over_one_connection() {
    const STREAMS: usize = 100;
    let all = Arc::new(Barrier::new(STREAMS));
    let rig = Plan::served(move |request, mut respond| {
        let all = all.clone();
        async move {
            // None is answered before all have come.
            all.wait().await;
            let mut stream = respond.send_response(status(200), false).expect("sent");
            let path = request.uri().path().to_owned();
            stream.send_data(path.into(), true).expect("sent");
        }
    });
    let rig = rig.begin().await;
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let path = format!("/{number}");
        let (response, _) = rig.open(get(&path), true).await;
        streams.spawn(async move {
            let response = within(whole(response)).await.expect("a response");
            assert_eq!(response.body, path.into_bytes());
        });
    }
    while let Some(served) = streams.join_next().await {
        served.expect("served");
    }
    assert_eq!(rig.running.desk.dialled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_few_streams_is_given_few() {
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let mut plan = Plan::served_by(builder, move |_, mut respond| {
        let (most, now) = (seen.clone(), now.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            respond.send_response(status(200), true).expect("sent");
        }
    });
    let dial = plan.dial;
    plan.dial = Box::new(move |way| {
        let mut server = dial(way)?;
        let (ours, mut theirs) = duplex(64 * 1024);
        tokio::spawn(async move {
            // It says how many only when all have come: time is paused.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = copy_bidirectional(&mut theirs, &mut server).await;
        });
        Ok(Box::new(ours))
    });
    let rig = plan.begin().await;
    let mut streams = JoinSet::new();
    for _ in 0..50 {
        let (response, _) = rig.open(get("/"), true).await;
        streams.spawn(within(whole(response)));
    }
    while let Some(served) = streams.join_next().await {
        let response = served.expect("served").expect("a response");
        assert_eq!(response.head.status(), 200, "none is refused");
    }
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn requests_of_different_ways_take_different_connections() {
    let mut plan = Plan::served(|_, mut respond| async move {
        respond.send_response(status(200), true).expect("sent");
    });
    plan.decide = Box::new(|request| Verdict::Forward(u8::from(request.target == "/b")));
    let rig = plan.begin().await;
    for path in ["/a", "/b", "/a", "/b"] {
        assert_eq!(rig.get(path).await.expect("a response").head.status(), 200);
    }
    assert_eq!(rig.running.desk.dialled.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn messages_of_a_call_go_both_ways_in_turn_and_end_in_trailers() {
    // As a call of gRPC: each message is answered before the next one is sent.
    let plan = Plan::served(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(status(200), false).expect("sent");
        while let Some(message) = body.data().await {
            let message = message.expect("a message");
            if message.is_empty() {
                continue;
            }
            let _ = body.flow_control().release_capacity(message.len());
            let answer = [b"re: ", &message[..]].concat();
            stream.send_data(answer.into(), false).expect("sent");
        }
        let asked = body.trailers().await.expect("an end");
        assert!(asked.is_none());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers).expect("sent");
    });
    let mut rig = plan.begin().await;
    let (response, mut stream) = rig.open(with("POST", "/call"), false).await;
    let mut body = within(response).await.expect("a response").into_body();
    for number in 0..200 {
        let message = format!("message {number}");
        stream
            .send_data(message.clone().into(), false)
            .expect("sent");
        let answer = within(body.data())
            .await
            .expect("an answer")
            .expect("whole");
        assert_eq!(answer, format!("re: {message}"), "each frame is its own");
        body.flow_control()
            .release_capacity(answer.len())
            .expect("taken");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    let (rest, trailers) = within(drain(&mut body)).await.expect("an end");
    assert!(rest.is_empty());
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    assert_eq!(rig.running.ended().await.1.error, None);
}

#[tokio::test]
async fn another_protocol_in_a_stream_is_offered_when_its_server_offers_it() {
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    let plan = Plan::served_by(builder, |request, mut respond| async move {
        let Some(protocol) = request.extensions().get::<Protocol>() else {
            respond.send_response(status(204), true).expect("sent");
            return;
        };
        assert_eq!(protocol.as_str(), "websocket");
        assert_eq!(request.uri(), "http://example.com/chat");
        let mut stream = respond.send_response(status(200), false).expect("sent");
        let mut body = request.into_body();
        while let Some(Ok(bytes)) = body.data().await {
            let _ = body.flow_control().release_capacity(bytes.len());
            stream.send_data(bytes, body.is_end_stream()).expect("sent");
        }
    });
    let mut rig = plan.begin().await;
    assert!(!rig.requests.is_extended_connect_protocol_enabled());
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 204);
    rig.running.ended().await;
    let offered = async {
        while !rig.requests.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    within(offered).await;

    let mut request = with("CONNECT", "/chat");
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let (response, mut stream) = rig.open(request, false).await;
    let mut body = within(response).await.expect("a response").into_body();
    for word in ["hello", "world"] {
        stream
            .send_data(word.into(), word == "world")
            .expect("sent");
        assert_eq!(
            within(body.data()).await.expect("an echo").expect("whole"),
            word
        );
    }
    let (_, end) = rig.running.ended().await;
    assert_eq!((end.status, end.error), (Some(200), None));
    assert!(end.upgraded);
}

#[tokio::test]
async fn a_response_may_end_before_its_request_does() {
    let rest = Arc::new(Mutex::new(Vec::new()));
    let (read, done) = (rest.clone(), Arc::new(Notify::new()));
    let ended = done.clone();
    let plan = Plan::served(move |request, mut respond| {
        let (read, ended) = (read.clone(), ended.clone());
        async move {
            respond.send_response(status(200), true).expect("sent");
            let (body, _) = drain(&mut request.into_body()).await.expect("a body");
            *read.lock().expect("unpoisoned") = body;
            ended.notify_one();
        }
    });
    let rig = plan.begin().await;
    let (response, mut stream) = rig.open(with("POST", "/"), false).await;
    let response = within(whole(response)).await.expect("a response");
    assert_eq!(response.head.status(), 200);
    stream
        .send_data(Bytes::from_static(b"the rest"), true)
        .expect("sent");
    within(done.notified()).await;
    assert_eq!(*rest.lock().expect("unpoisoned"), b"the rest");
}
