//! A session of HTTP/2: the streams of a client's connection, each an exchange of its own.
//!
//! ```text
//! client ─> settings (handshake) ─> exchange (a task a stream) ─> head ─> Gateway
//!                                      │  answer <── refused ───────────────┤
//!                                      └─ body ⇄ body <── ways (a connection a way) <── way
//! ```
//!
//! Pseudo-fields, fields in the order of their name, bodies and trailers pass as they came, and so
//! do the end of a stream and its reset with its reason. What one side does not read, the other
//! side is not asked for: windows open only as far as the other connection takes the bytes.

mod answer;
mod body;
mod calm;
mod exchange;
mod fault;
mod fields;
mod head;
mod note;
mod passing;
mod prefixed;
mod settings;
mod ways;
mod wire;

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use self::calm::Calm;
use self::exchange::Left;
use self::prefixed::Prefixed;
use self::ways::Ways;
use crate::error::{SessionError, Stage};
use crate::gateway::{Gateway, Stream};
use crate::limits::Limits;

/// What the exchanges of a session share.
struct Session<G: Gateway> {
    gateway: Arc<G>,
    limits: Limits,
    ways: Ways<G>,
}

/// Serves a client that speaks HTTP/2, until it has gone. `prefix` has been read from it already,
/// the preface included.
///
/// # Errors
///
/// Where the client does not speak HTTP/2, is too slow to begin, breaks the protocol or resets
/// streams in a flood; what becomes of single exchanges is told to [`Gateway::ended`] alone.
pub async fn serve<G: Gateway, S: Stream>(
    client: S,
    prefix: Vec<u8>,
    gateway: Arc<G>,
    limits: Limits,
) -> Result<(), SessionError> {
    serve_until(client, prefix, gateway, limits, pending()).await
}

/// Serves as [`serve`] does; when `drain` is ready, the client is told to open no more streams
/// (GOAWAY), those it has are finished, and the session ends.
///
/// # Errors
///
/// As of [`serve`].
pub async fn serve_until<G: Gateway, S: Stream>(
    client: S,
    prefix: Vec<u8>,
    gateway: Arc<G>,
    limits: Limits,
    drain: impl Future<Output = ()> + Send,
) -> Result<(), SessionError> {
    let client = Prefixed::new(prefix.into(), client);
    let handshake = settings::server(&limits).handshake::<_, Bytes>(client);
    let connection = match timeout(limits.head_time, handshake).await {
        Err(_) => return Err(SessionError::Slow(Stage::Head)),
        Ok(begun) => begun.map_err(broken)?,
    };
    let session = Arc::new(Session {
        gateway,
        limits,
        ways: Ways::default(),
    });
    let mut exchanges = JoinSet::new();
    let ended = streams(connection, &session, &mut exchanges, drain).await;
    // Their streams are gone with the connection: each comes to its end at once, unless a gateway
    // lingers.
    let rest = async { while exchanges.join_next().await.is_some() {} };
    if timeout(LINGER, rest).await.is_err() {
        exchanges.shutdown().await;
    }
    session.ways.close(LINGER).await;
    ended
}

/// Takes the streams of a connection until it has ended.
async fn streams<G: Gateway, T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
    session: &Arc<Session<G>>,
    exchanges: &mut JoinSet<Left>,
    drain: impl Future<Output = ()> + Send,
) -> Result<(), SessionError> {
    let limits = &session.limits;
    let mut calm = Calm::new(Instant::now());
    let mut phase = Phase::Serving;
    let mut extended = false;
    let waiting = sleep(limits.idle);
    tokio::pin!(drain, waiting);
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let exchange = exchange::run(session.clone(), request, respond);
                    exchanges.spawn(exchange.in_current_span());
                }
                _ if phase == Phase::Calming => return Err(SessionError::Flood("resets")),
                Some(Err(error)) => return Err(broken(error)),
                None => return Ok(()),
            },
            Some(left) = exchanges.join_next() => {
                // Of a panic the gateway's owner is told by the runtime: the stream ends alone.
                let left = left.unwrap_or_default();
                match phase {
                    Phase::Serving => waiting.as_mut().reset(Instant::now() + limits.idle),
                    // Its last bytes may still be on the way to the socket.
                    Phase::Draining => waiting.as_mut().reset(Instant::now() + LINGER),
                    Phase::Calming => {}
                }
                if left.extended && !extended {
                    // Refused while earlier settings are unanswered: the next exchange asks again.
                    extended = connection.enable_connect_protocol().is_ok();
                }
                if calm.flooded(&left, Instant::now()) && phase != Phase::Calming {
                    phase = Phase::Calming;
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    waiting.as_mut().reset(Instant::now() + LINGER);
                }
            }
            () = &mut drain, if phase == Phase::Serving => {
                phase = Phase::Draining;
                connection.graceful_shutdown();
                waiting.as_mut().reset(Instant::now() + LINGER);
            }
            () = &mut waiting, if exchanges.is_empty() || phase == Phase::Calming => match phase {
                Phase::Serving => {
                    phase = Phase::Draining;
                    connection.graceful_shutdown();
                    waiting.as_mut().reset(Instant::now() + LINGER);
                }
                // It does not answer.
                Phase::Draining => return Ok(()),
                Phase::Calming => return Err(SessionError::Flood("resets")),
            },
        }
    }
}

/// What is asked of the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: it may open streams.
    Serving,
    /// To open no more.
    Draining,
    /// To go away at once.
    Calming,
}

/// Tells a broken connection from a broken protocol.
fn broken(source: h2::Error) -> SessionError {
    if source.is_library() && source.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        return SessionError::Flood("resets, small frames or fields");
    }
    if !source.is_io() {
        return SessionError::Http2 { source };
    }
    match source.into_io() {
        Some(source) => SessionError::Client { source },
        None => SessionError::ClientEnded(Stage::Head),
    }
}

/// How long a peer may take for what needs only its attention.
const LINGER: Duration = Duration::from_secs(5);
