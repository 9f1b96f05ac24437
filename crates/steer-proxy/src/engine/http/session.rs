//! Sessions of HTTP, from their first byte to their end.
use std::sync::Arc;

use steer_core::policy::App;
use steer_http::{SessionError, http1, http2};
use tokio::io::{AsyncRead, AsyncWrite};

use super::desk::Desk;
use crate::engine::connection::chain;
use crate::record::Outcome;

/// What a session speaks, on both of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Spoken {
    Http1,
    Http2,
}

impl Spoken {
    /// What the first bytes say.
    pub(in crate::engine) fn of(app: App) -> Option<Self> {
        match app {
            App::Http1 => Some(Self::Http1),
            App::Http2 => Some(Self::Http2),
            App::Tls | App::Quic | App::Dns | App::Opaque => None,
        }
    }

    /// What a handshake of TLS chose.
    pub(in crate::engine) fn chosen(alpn: &[u8]) -> Option<Self> {
        match alpn {
            b"http/1.1" | b"http/1.0" => Some(Self::Http1),
            b"h2" => Some(Self::Http2),
            _ => None,
        }
    }

    /// How it is named in a handshake.
    pub(in crate::engine) fn alpn(self) -> Vec<Vec<u8>> {
        vec![match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }]
    }

    pub(super) fn app(self) -> App {
        match self {
            Self::Http1 => App::Http1,
            Self::Http2 => App::Http2,
        }
    }
}

/// Serves the requests of a client to its end, and tells how that was.
pub(in crate::engine) async fn serve<S>(
    client: S,
    prefix: Vec<u8>,
    desk: Desk,
) -> (Outcome, Option<String>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Desk {
        seen,
        shared,
        spoken,
        ..
    } = &desk;
    let (seen, shared, spoken) = (Arc::clone(seen), Arc::clone(shared), *spoken);
    seen.notes().app = Some(spoken.app());
    let limits = shared.http.clone();
    let desk = Arc::new(desk);
    let ended = match spoken {
        Spoken::Http1 => http1::serve(client, prefix, desk, limits).await,
        Spoken::Http2 => {
            let mut stop = shared.stop.subscribe();
            let drain = async {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            http2::serve_until(client, prefix, desk, limits, drain).await
        }
    };
    match ended {
        Ok(()) => (Outcome::Ok, None),
        Err(error) => (outcome(&error), Some(chain(&error))),
    }
}

fn outcome(error: &SessionError) -> Outcome {
    match error {
        SessionError::Slow(_) | SessionError::ServerSlow(_) => Outcome::Timeout,
        SessionError::Client { .. } | SessionError::ClientEnded(_) | SessionError::Reset => {
            Outcome::Reset
        }
        SessionError::Server { .. }
        | SessionError::ServerEnded(_)
        | SessionError::Request { .. }
        | SessionError::Response { .. }
        | SessionError::Flood(_)
        | SessionError::Http2 { .. } => Outcome::Error,
    }
}
