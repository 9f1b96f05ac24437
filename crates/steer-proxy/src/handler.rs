//! Handlers: code of an embedder that looks at connections and requests, and changes them.
//!
//! ```text
//! program ─> stream(1) ─> stream(2) ─> rules ─> request(1) ─> request(2) ─> rules ─> edits ─> server
//! program <─ stream(1) <─ stream(2) <───────── response(1) <─ response(2) <──────── edits <─ server
//! ```
//!
//! A handler says once a connection what it wants to see of it ([`Interest`]), and is shown no more
//! than that. Several compose in the order in which the engine was given them; responses pass them
//! the other way round. They stand between the program and the rules: the rules decide about what
//! the handlers made of a request, and what the rules put into it, secrets above all, no handler is
//! shown. A handler that panics ends its connection alone.

mod next;

use std::fmt;

use async_trait::async_trait;
use steer_core::address::{ClientAddr, Destination, HostName};
use steer_core::method::Method;
use steer_core::steered::{Identity, Stream};

pub use next::Next;
pub use steer_http::{Fields, Refused, Request, Response, Version};

use crate::record::ConnectionId;

/// A stream of bytes in both directions.
pub type BoxStream = Box<dyn Stream>;

/// Looks at connections and requests, and may change them.
///
/// Every method has a default that leaves things as they are.
///
/// ```
/// use std::sync::Arc;
/// use steer_core::policy::Policy;
/// use steer_proxy::engine::Engine;
/// use steer_proxy::handler::{About, Act, Handler, Interest, Refused, Request};
///
/// struct NoAdmin;
///
/// #[async_trait::async_trait]
/// impl Handler for NoAdmin {
///     async fn connection(&self, _about: &About) -> Interest {
///         Interest::Requests
///     }
///
///     async fn request(&self, _about: &About, request: &mut Request) -> Act {
///         request.fields.set("x-seen", "yes");
///         match request.path() {
///             Some("/admin") => Act::Respond(Refused::plain(404, "there is no such page")),
///             _ => Act::Continue,
///         }
///     }
/// }
///
/// let engine = Engine::builder(Policy::default()).handler(Arc::new(NoAdmin)).build()?;
/// # Ok::<(), steer_proxy::engine::EngineError>(())
/// ```
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What the handler wants to see of a TCP connection. Asked once, before the rules are and
    /// before a byte of the program was read.
    async fn connection(&self, about: &About) -> Interest {
        let _ = about;
        Interest::Pass
    }

    /// The head of a request, before the rules are asked about it. Of a body nothing is shown.
    async fn request(&self, about: &About, request: &mut Request) -> Act {
        let _ = (about, request);
        Act::Continue
    }

    /// The head of a server's response, interim ones (1xx) included, after the rules' own changes.
    /// Of responses that are given here, by a handler, a rule or a failure, nothing is shown.
    async fn response(&self, about: &About, response: &mut Response) {
        let _ = (about, response);
    }

    /// The bytes of a connection, from the moment at which the program takes itself for connected.
    ///
    /// [`Next::run`] hands a stream on: to the next handler, and behind the last one to the engine,
    /// which decides and dials by what comes out of it. Whoever does not call it is the server.
    /// Dropping a stream without shutting it down is a reset for the program.
    ///
    /// # Errors
    /// The connection failed; this is what its record says.
    async fn stream(
        &self,
        about: &About,
        client: BoxStream,
        next: Next<'_>,
    ) -> std::io::Result<()> {
        let _ = about;
        next.run(client).await
    }
}

/// What a handler wants to see of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Nothing.
    #[default]
    Pass,
    /// Its bytes, by [`Handler::stream`].
    Bytes,
    /// Its requests, where it is HTTP that can be read: in plain text, or in TLS that a rule opens.
    ///
    /// A server that speaks first is heard later, as with rules that need the first bytes.
    Requests,
    /// It is refused, as by a rule.
    Reject,
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// It goes on: to the next handler, then to the rules.
    #[default]
    Continue,
    /// It is answered so, and nobody else is asked.
    Respond(Refused),
    /// It is refused, as by a rule.
    Reject,
}

/// What is known of a connection when a handler is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// Its number, that of the records.
    pub connection: ConnectionId,
    /// Which of its requests this is about, from 1; in HTTP/2 they overlap. 0 outside of requests.
    pub request: u64,
    /// The program's address.
    pub client: ClientAddr,
    /// Where the program wanted to go.
    pub destination: Destination,
    /// The name of the destination, where it was asked for by name or the engine's resolver knows
    /// what it stands for; of opened TLS the server name. What a request says is in the request.
    pub host: Option<HostName>,
    /// Who asks.
    pub identity: Identity,
    /// The method that brought it.
    pub method: Method,
    /// Whether it is inside of TLS that was opened.
    pub opened: bool,
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}
