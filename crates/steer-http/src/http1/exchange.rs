//! One request and its response, both moving at once.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::error::{Malformed, SessionError, Stage};
use crate::gateway::Gateway;
use crate::limits::Limits;
use crate::message::Version;

use super::body::Body;
use super::buffer::Buffer;
use super::clock::Clock;
use super::framing::{Asked, Framing};
use super::head::{self, ResponseHead};
use super::progress::Progress;
use super::scan::Scan;
use super::upstream::Upstream;
use super::write;

/// What broke an exchange.
#[derive(Debug)]
pub(super) enum Broken {
    Client(io::Error),
    ClientEnded,
    Request(Malformed),
    SlowClient,
    Server(io::Error),
    ServerEnded,
    Response(Malformed),
    SlowServer,
}

impl Broken {
    /// What it is to a client that gets no response.
    pub(super) fn of_server(self) -> SessionError {
        match self {
            Self::Server(source) => SessionError::Server { source },
            _ => SessionError::ServerEnded(Stage::Head),
        }
    }
}

/// What a whole response leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// What follows is another protocol.
    pub(super) tunnel: bool,
    /// The response lets both connections go on.
    pub(super) lasts: bool,
}

/// The client's side of an exchange.
pub(super) struct Client<'s, R, W> {
    pub(super) reading: &'s mut R,
    pub(super) inbox: &'s mut Buffer,
    /// Whether it has ended.
    pub(super) ended: &'s mut bool,
    pub(super) writing: &'s mut W,
    /// Room for the response's head.
    pub(super) out: &'s mut Vec<u8>,
}

/// What of a request its exchange needs.
pub(super) struct Sent<'s> {
    pub(super) head: &'s [u8],
    pub(super) body: &'s mut Body,
    pub(super) version: Version,
    pub(super) asked: Asked,
}

/// Passes a request on and its response back, until both have gone or something breaks.
pub(super) async fn run<G: Gateway, R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    client: Client<'_, R, W>,
    upstream: &mut Upstream,
    sent: Sent<'_>,
    (gateway, exchange, progress): (&G, &mut G::Exchange, &Progress),
    (limits, clock): (&Limits, &mut Clock),
) -> Result<Outcome, Broken> {
    let Client {
        reading,
        inbox,
        ended,
        writing,
        out,
    } = client;
    let Sent {
        head,
        body,
        version,
        asked,
    } = sent;
    let server = &mut upstream.writing;
    let mut sending = pin!(async {
        if let Err(broken) = send(reading, inbox, server, head, body, progress).await {
            return broken;
        }
        progress.body_gone.set(true);
        watch(reading, inbox, ended, server).await
    });
    let mut receiving = pin!(async {
        let (server, inbox) = (&mut upstream.reading, &mut upstream.inbox);
        let (head, body) = loop {
            let mut head = response_head(server, inbox, asked, limits, progress).await?;
            let status = head.response.status;
            gateway.response(exchange, &mut head.response).await;
            head.check(status, asked).map_err(Broken::Response)?;
            write::response(out, &head);
            if head.response.status >= 200 || head.framing == Framing::Tunnel {
                break (head, out);
            }
            progress.step();
            write::both(writing, out, b"")
                .await
                .map_err(Broken::Client)?;
        };
        let tunnel = head.framing == Framing::Tunnel;
        let mut rest = Body::new(head.framing, limits);
        let here = if tunnel {
            0
        } else {
            rest.take(inbox.data()).map_err(Broken::Response)?
        };
        progress.answered.set(true);
        progress.stuck.set(true);
        progress.status(head.response.status);
        let written = write::both(writing, body, &inbox.data()[..here]).await;
        written.map_err(Broken::Client)?;
        inbox.consume(here);
        progress.received(here);
        if !tunnel {
            let moved = |count| progress.received(count);
            let waits = |waits: bool| progress.stuck.set(!waits);
            let passed = pass(server, inbox, writing, &mut rest, moved, waits).await;
            passed.map_err(Halt::of_response)?;
        }
        Ok(Outcome {
            tunnel,
            lasts: tunnel || head.lasts(version),
        })
    });

    let (mut unsent, mut received) = (None, None);
    let mut seen = progress.moved();
    clock.set(limits.body_idle);
    poll_fn(|cx| {
        if unsent.is_none()
            && let Poll::Ready(broken) = sending.as_mut().poll(cx)
        {
            unsent = Some(broken);
        }
        if received.is_none()
            && let Poll::Ready(result) = receiving.as_mut().poll(cx)
        {
            received = Some(result);
        }
        match (received.take(), &unsent) {
            (Some(Err(broken)), _) => return Poll::Ready(Err(broken)),
            // Nothing of another protocol may stand in the place of a body that did not come.
            (Some(Ok(Outcome { tunnel: true, .. })), Some(_)) if !progress.body_gone.is() => {
                return Poll::Ready(Err(unsent.take().expect("matched")));
            }
            (Some(Ok(outcome)), _)
                if unsent.is_some() || !outcome.lasts || progress.body_gone.is() =>
            {
                return Poll::Ready(Ok(outcome));
            }
            // A server that stops reading may have answered: that is what the client should get.
            (None, None | Some(Broken::Server(_))) => {}
            (None, Some(_)) => return Poll::Ready(Err(unsent.take().expect("matched"))),
            (whole, _) => received = whole,
        }
        while clock.poll(cx).is_ready() {
            if progress.moved() == seen {
                let slow_client = progress.awaits_client.is() || progress.stuck.is();
                return Poll::Ready(match received.take() {
                    // Only the body of an answered request is late: the client has what it wants.
                    Some(Ok(outcome)) if !outcome.tunnel => Ok(outcome),
                    _ if slow_client => Err(Broken::SlowClient),
                    _ => Err(Broken::SlowServer),
                });
            }
            seen = progress.moved();
            clock.set(limits.body_idle);
        }
        Poll::Pending
    })
    .await
}

/// Sends a request, what is there of its body with the head.
async fn send<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reading: &mut R,
    inbox: &mut Buffer,
    server: &mut W,
    head: &[u8],
    body: &mut Body,
    progress: &Progress,
) -> Result<(), Broken> {
    let here = body.take(inbox.data()).map_err(Broken::Request)?;
    if here > 0 {
        progress.body_begun.set(true);
    }
    let written = write::both(server, head, &inbox.data()[..here]).await;
    written.map_err(Broken::Server)?;
    inbox.consume(here);
    progress.sent(here);
    let moved = |count| progress.sent(count);
    let waits = |waits| {
        progress.awaits_client.set(waits);
        if !waits {
            progress.body_begun.set(true);
        }
    };
    let passed = pass(reading, inbox, server, body, moved, waits).await;
    passed.map_err(Halt::of_request)
}

/// Waits beside a response for the client to go: its end is passed on, as a plain relay would.
async fn watch<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reading: &mut R,
    inbox: &mut Buffer,
    ended: &mut bool,
    server: &mut W,
) -> Broken {
    while !*ended && inbox.data().len() < AHEAD {
        match inbox.fill(reading).await {
            Ok(count) => *ended = count == 0,
            // TLS without its own end, which is no news: a client may go so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => *ended = true,
            Err(error) => return Broken::Client(error),
        }
    }
    if *ended && inbox.is_empty() {
        // A server that is gone already is found by whoever reads from it.
        let _ = server.shutdown().await;
    }
    pending().await
}

/// So many bytes of later requests are read ahead.
const AHEAD: usize = 16 * 1024;

/// Where a body stopped.
enum Halt {
    Read(io::Error),
    Ended,
    Malformed(Malformed),
    Write(io::Error),
}

impl Halt {
    fn of_request(self) -> Broken {
        match self {
            Self::Read(error) => Broken::Client(error),
            Self::Ended => Broken::ClientEnded,
            Self::Malformed(why) => Broken::Request(why),
            Self::Write(error) => Broken::Server(error),
        }
    }

    fn of_response(self) -> Broken {
        match self {
            Self::Read(error) => Broken::Server(error),
            Self::Ended => Broken::ServerEnded,
            Self::Malformed(why) => Broken::Response(why),
            Self::Write(error) => Broken::Client(error),
        }
    }
}

/// Passes the rest of a body on, of which nothing is left in the inbox.
async fn pass<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut R,
    inbox: &mut Buffer,
    to: &mut W,
    body: &mut Body,
    moved: impl Fn(usize),
    waits: impl Fn(bool),
) -> Result<(), Halt> {
    while !body.ended() {
        waits(true);
        let count = inbox.fill(from).await.map_err(Halt::Read)?;
        waits(false);
        if count == 0 {
            let whole = body.ends_with_connection();
            return if whole { Ok(()) } else { Err(Halt::Ended) };
        }
        let count = body.take(inbox.data()).map_err(Halt::Malformed)?;
        let written = write::both(to, b"", &inbox.data()[..count]).await;
        written.map_err(Halt::Write)?;
        inbox.consume(count);
        moved(count);
    }
    Ok(())
}

async fn response_head<R: AsyncRead + Unpin>(
    from: &mut R,
    inbox: &mut Buffer,
    asked: Asked,
    limits: &Limits,
    progress: &Progress,
) -> Result<ResponseHead, Broken> {
    let mut scan = Scan::default();
    loop {
        if !inbox.is_empty() {
            progress.heard.set(true);
            if let Some(end) = scan.end(inbox.data(), limits).map_err(Broken::Response)? {
                let head = head::response(&inbox.data()[..end], scan.fields(), asked);
                inbox.consume(end);
                return head.map_err(Broken::Response);
            }
        }
        match inbox.fill(from).await {
            Ok(0) => return Err(Broken::ServerEnded),
            Ok(_) => {}
            Err(error) => return Err(Broken::Server(error)),
        }
    }
}
