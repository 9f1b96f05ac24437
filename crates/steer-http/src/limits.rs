//! What a session lets a client or a server do to it.

use std::time::Duration;

/// What a session lets a client or a server do to it, so that none holds it or its memory.
///
/// ```
/// use steer_http::Limits;
///
/// let limits = Limits { head: 16 * 1024, ..Limits::default() };
/// assert_eq!(limits.fields, 256);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, and of the trailers of a body. A request's larger one is answered with 431.
    pub head: usize,
    /// Fields of a head, and of the trailers of a body. A request with more is answered with 431.
    pub fields: usize,
    /// How long a head may take from its first byte to its last; a slower request is answered with
    /// 408.
    pub head_time: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
    /// How long an exchange may move no byte in either direction. A server's silence before its
    /// response is meant, too: 504. Found within as long again.
    pub body_idle: Duration,
    /// The same for what an upgrade made of an exchange (101, CONNECT); none waits for ever.
    pub tunnel_idle: Option<Duration>,
    /// How many bytes of a request are read and thrown away for a response that did not wait for
    /// them, before the connection is closed.
    pub discard: u64,
    /// How many exchanges a client may have at a time (HTTP/2).
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            fields: 256,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(5 * 60),
            body_idle: Duration::from_secs(10 * 60),
            tunnel_idle: None,
            discard: 256 * 1024,
            streams: 256,
        }
    }
}
