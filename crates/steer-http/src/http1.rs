//! HTTP/1.0 and 1.1, to the byte.
//!
//! ```text
//! client ─> buffer ─> scan, head ─> Gateway ─> write ─> upstream      session: one after the other
//!              └────── body ──────────────────> write ─> upstream      exchange: both ways at once
//! client <─ write <─ Gateway <─ head <─ buffer <──────── upstream      tunnel: after 101 or CONNECT
//! ```
mod body;
mod buffer;
mod clock;
mod exchange;
mod framing;
mod head;
mod progress;
mod scan;
mod session;
mod target;
mod tunnel;
mod upstream;
mod write;

use std::sync::Arc;

use crate::error::SessionError;
use crate::gateway::{Gateway, Stream};
use crate::limits::Limits;

pub use framing::Framing;
pub use head::{RequestHead, ResponseHead, parse_request, parse_response};

/// Serves a client, whose first bytes were read already, until it or its gateway has enough.
///
/// `Ok` and errors that say so in a response end with the client's stream shut down; where the
/// client was left within a message, it is dropped without that ([`SessionError`]).
pub async fn serve<G: Gateway, S: Stream>(
    client: S,
    prefix: Vec<u8>,
    gateway: Arc<G>,
    limits: Limits,
) -> Result<(), SessionError> {
    session::Session::new(client, prefix, gateway, limits)
        .run()
        .await
}
