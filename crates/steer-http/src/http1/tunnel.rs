//! What an exchange became: bytes both ways, whose ends pass one by one.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::error::{SessionError, Stage};
use crate::limits::Limits;

use super::buffer::Buffer;
use super::clock::Clock;
use super::exchange::Client;
use super::progress::Progress;
use super::upstream::Upstream;
use super::write;

/// Relays until both sides have ended.
pub(super) async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    client: Client<'_, R, W>,
    upstream: &mut Upstream,
    progress: &Progress,
    (limits, clock): (&Limits, &mut Clock),
) -> Result<(), SessionError> {
    let Client {
        reading,
        inbox,
        ended,
        writing,
        ..
    } = client;
    let server = upstream;
    let mut sending = pin!(way(reading, inbox, *ended, &mut server.writing, |count| {
        progress.sent(count);
    }));
    let (from, inbox) = (&mut server.reading, &mut server.inbox);
    let mut receiving = pin!(way(from, inbox, false, writing, |count| {
        progress.received(count);
    }));
    let idle = limits.tunnel_idle;
    let mut seen = progress.moved();
    let (mut sent, mut received) = (false, false);
    if let Some(idle) = idle {
        clock.set(idle);
    }
    poll_fn(|cx| {
        if !sent && let Poll::Ready(end) = sending.as_mut().poll(cx) {
            end.map_err(|failed| failed.on(Side::Client))?;
            sent = true;
        }
        if !received && let Poll::Ready(end) = receiving.as_mut().poll(cx) {
            end.map_err(|failed| failed.on(Side::Server))?;
            received = true;
        }
        if sent && received {
            return Poll::Ready(Ok(()));
        }
        let Some(idle) = idle else {
            return Poll::Pending;
        };
        while clock.poll(cx).is_ready() {
            if progress.moved() == seen {
                return Poll::Ready(Err(SessionError::Slow(Stage::Tunnel)));
            }
            seen = progress.moved();
            clock.set(idle);
        }
        Poll::Pending
    })
    .await
}

/// One direction, to its end.
async fn way<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut R,
    inbox: &mut Buffer,
    ended: bool,
    to: &mut W,
    moved: impl Fn(usize),
) -> Result<(), Failed> {
    loop {
        let count = inbox.data().len();
        if count > 0 {
            let written = write::both(to, b"", inbox.data()).await;
            written.map_err(Failed::Writing)?;
            inbox.consume(count);
            moved(count);
        }
        if ended || inbox.fill(from).await.map_err(Failed::Reading)? == 0 {
            // Whoever has gone already needs no end.
            let _ = to.shutdown().await;
            return Ok(());
        }
    }
}

enum Failed {
    Reading(std::io::Error),
    Writing(std::io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Failed {
    /// The error of a direction that reads from this side.
    fn on(self, from: Side) -> SessionError {
        match (self, from) {
            (Self::Reading(source), Side::Client) | (Self::Writing(source), Side::Server) => {
                SessionError::Client { source }
            }
            (Self::Reading(source), Side::Server) | (Self::Writing(source), Side::Client) => {
                SessionError::Server { source }
            }
        }
    }
}
