//! What a session asks about its requests: the seam between the protocol and whoever decides.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::{Request, Response};

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Decides about the requests of a session, gives their connections, and may change heads.
///
/// Bodies and trailers pass as they are. A session calls from one task (HTTP/1) or from many at a
/// time (HTTP/2).
pub trait Gateway: Send + Sync + 'static {
    /// Which connection a request takes. Requests with equal ways share connections, one after
    /// the other (HTTP/1) or at a time (HTTP/2).
    type Way: Clone + Eq + fmt::Debug + Send + Sync + 'static;
    /// What is noted about one request until it has ended.
    type Exchange: Send + 'static;

    /// Decides about a request whose head has come, and may change it.
    fn request(
        &self,
        request: &mut Request,
    ) -> impl Future<Output = (Self::Exchange, Verdict<Self::Way>)> + Send;

    /// Makes a connection for a way, where none is left of an earlier request.
    fn connect(&self, way: &Self::Way) -> impl Future<Output = Result<Connected, Refused>> + Send;

    /// May change the head of a response, also of an interim one (1xx).
    fn response(
        &self,
        exchange: &mut Self::Exchange,
        response: &mut Response,
    ) -> impl Future<Output = ()> + Send;

    /// An exchange has ended.
    fn ended(&self, exchange: Self::Exchange, end: &End);

    /// Ready when sessions should finish what they have begun and take no more requests; asked
    /// anew for each request.
    fn drain(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<W> {
    /// It goes on by this way.
    Forward(W),
    /// It is answered here; a request's body is read and thrown away, within limits.
    Respond(Refused),
    /// The connection (HTTP/1) or the stream (HTTP/2) is reset.
    Reset,
}

/// A response of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status, 200 to 599.
    pub status: u16,
    /// The fields; the length, the date and `connection` are the session's.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Refused {
    /// A response in plain text.
    #[must_use]
    pub fn plain(status: u16, text: &str) -> Self {
        let fields = [("content-type", "text/plain; charset=utf-8")];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            status,
            fields: fields.map(owned).to_vec(),
            body: format!("{text}\n").into_bytes(),
        }
    }
}

/// A connection to a server, or to a proxy that has been asked for one.
pub struct Connected {
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// Whether a proxy is spoken to that takes requests for any host: their targets are written in
    /// absolute form (HTTP/1).
    pub absolute: bool,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("absolute", &self.absolute)
            .finish_non_exhaustive()
    }
}

/// How one exchange ended, for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The status that the client was sent; none where it was sent none.
    pub status: Option<u16>,
    /// Bytes of the request's body, as framed.
    pub sent: u64,
    /// Bytes of the response's body, as framed.
    pub received: u64,
    /// Why it ended early, in words; none where it did not.
    pub error: Option<String>,
    /// Whether it became a connection of another protocol (101, or CONNECT).
    pub upgraded: bool,
}
