//! What one side does not read, the other side does not send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client};
use steer_http::Limits;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::Notify;

use crate::rig::{Plan, drain, get, reason, status, with, within};

/// More than is buffered anywhere between two ends.
const ENOUGH: usize = 1024 * 1024;

/// A client's stream that is no longer read when it is told so.
struct Stopping {
    stream: DuplexStream,
    stopped: Arc<AtomicBool>,
}

impl Stopping {
    fn new(stream: DuplexStream) -> (Self, Arc<AtomicBool>) {
        let stopped = Arc::new(AtomicBool::new(false));
        let stopping = Self {
            stream,
            stopped: stopped.clone(),
        };
        (stopping, stopped)
    }
}

impl AsyncRead for Stopping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stopped.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Stopping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Sends as much as is taken.
async fn pour(stream: &mut SendStream<Bytes>, poured: &AtomicUsize) {
    let chunk = Bytes::from(vec![7; 8 * 1024]);
    loop {
        stream.reserve_capacity(chunk.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(room)) => {
                let piece = chunk.slice(..room.min(chunk.len()));
                poured.fetch_add(piece.len(), Ordering::SeqCst);
                if stream.send_data(piece, false).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Waits until no more is taken.
async fn settled(poured: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let after = poured.load(Ordering::SeqCst);
        if after == before && after > 0 {
            return after;
        }
        before = after;
        // Time is paused: it passes only when nothing else can happen.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn reads(body: &mut RecvStream, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let chunk = body.data().await.expect("more").expect("whole");
        body.flow_control()
            .release_capacity(chunk.len())
            .expect("taken");
        left = left.saturating_sub(chunk.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_has_its_server_stop() {
    let poured = Arc::new(AtomicUsize::new(0));
    let counted = poured.clone();
    let rig = Plan::served(move |_, mut respond| {
        let counted = counted.clone();
        async move {
            let mut stream = respond.send_response(status(200), false).expect("sent");
            pour(&mut stream, &counted).await;
        }
    });
    let rig = rig.begin().await;
    let (response, _stream) = rig.open(get("/"), true).await;
    let mut body = within(response).await.expect("a response").into_body();
    let taken = within(settled(&poured)).await;
    assert!(
        taken < ENOUGH,
        "{taken} bytes wait for a client that reads none"
    );

    reads(&mut body, 4 * ENOUGH).await;
    let more = within(settled(&poured)).await;
    assert!(more >= 4 * ENOUGH, "it goes on as the client reads");
    assert!(more < 5 * ENOUGH, "{more} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_endless_windows_whose_network_takes_nothing_has_its_servers_stop() {
    const STREAMS: usize = 10;
    let poured = Arc::new(AtomicUsize::new(0));
    let counted = poured.clone();
    let plan = Plan::served(move |_, mut respond| {
        let counted = counted.clone();
        async move {
            let mut stream = respond.send_response(status(200), false).expect("sent");
            pour(&mut stream, &counted).await;
        }
    });
    let endless = (1 << 31) - 1;
    let (stream, _running) = plan.begin_raw();
    let (stream, stop) = Stopping::new(stream);
    let made = client::Builder::new()
        .initial_window_size(endless)
        .initial_connection_window_size(endless)
        .handshake::<_, Bytes>(stream);
    let (requests, connection) = made.await.expect("a handshake");
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut requests = requests.clone().ready().await.expect("ready");
        streams.push(requests.send_request(get("/"), true).expect("sent"));
    }
    while poured.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    let taken = within(settled(&poured)).await;
    assert!(
        taken < STREAMS * ENOUGH,
        "{taken} bytes wait for a network that takes none"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_has_its_client_stop_and_other_streams_go_on() {
    let (rest, poured) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let on = rest.clone();
    let rig = Plan::served(move |request, mut respond| {
        let on = on.clone();
        async move {
            if request.uri().path() == "/" {
                on.notified().await;
            }
            let read = drain(&mut request.into_body()).await;
            if let Ok((body, _)) = read {
                let mut stream = respond.send_response(status(200), false).expect("sent");
                let length = body.len().to_string();
                stream.send_data(length.into(), true).expect("sent");
            }
        }
    });
    let rig = rig.begin().await;
    let (response, mut stream) = rig.open(with("POST", "/"), false).await;
    let counted = poured.clone();
    let pouring = tokio::spawn(async move {
        tokio::select! {
            () = pour(&mut stream, &counted) => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        stream.send_data(Bytes::new(), true).expect("sent");
    });
    let taken = within(settled(&poured)).await;
    assert!(
        taken < ENOUGH,
        "{taken} bytes wait for a server that reads none"
    );

    assert_eq!(rig.get("/other").await.expect("a response").body, b"0");

    pouring.await.expect("poured");
    rest.notify_one();
    let mut body = within(response).await.expect("a response").into_body();
    let (body, _) = within(drain(&mut body)).await.expect("a body");
    let length = poured.load(Ordering::SeqCst).to_string();
    assert_eq!(body, length.into_bytes(), "nothing of it is lost");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_in_which_nothing_moves_is_ended() {
    let limits = Limits {
        body_idle: Duration::from_secs(3),
        ..Limits::default()
    };
    // A server without a word, and one that stops in the middle.
    let mut plan = Plan::served(|request, mut respond| async move {
        let begun = (request.uri().path() == "/stops")
            .then(|| respond.send_response(status(200), false).expect("sent"));
        let mut begun = begun;
        if let Some(stream) = &mut begun {
            stream
                .send_data(Bytes::from_static(b"a"), false)
                .expect("sent");
        }
        let gone = match &mut begun {
            Some(stream) => std::future::poll_fn(|cx| stream.poll_reset(cx)).await,
            None => std::future::poll_fn(|cx| respond.poll_reset(cx)).await,
        };
        assert_eq!(gone.expect("a reset"), Reason::CANCEL);
    });
    plan.limits = limits;
    let mut rig = plan.begin().await;
    assert_eq!(
        rig.get("/silent").await.expect("a response").head.status(),
        504
    );
    let (_, end) = rig.running.ended().await;
    assert_eq!(end.status, Some(504));
    assert!(end.error.is_some());

    let error = rig.get("/stops").await.expect_err("a reset");
    assert_eq!(reason(&error), Some(Reason::CANCEL));
    let (_, end) = rig.running.ended().await;
    assert_eq!((end.status, end.received), (Some(200), 1));
    assert!(end.error.is_some());
}
