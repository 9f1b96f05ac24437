//! Why a session ended other than by its orderly end.

use std::io;

/// Why a session ended other than by its orderly end.
///
/// Where the client was left within a message, its stream was dropped without a `shutdown`; in every
/// other case it was shut down first. Whoever owns the socket should have it reset in the former:
/// `SO_LINGER` of 0, cleared by a wrapper's `poll_shutdown`, so that a client never takes a break
/// for the end of the data.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client sent what is no HTTP, or what could be read in two ways.
    #[error("the client's request could not be passed on")]
    Request {
        /// What is wrong.
        #[source]
        source: Malformed,
    },
    /// The client took too long.
    #[error("the client was too slow with the {0}")]
    Slow(Stage),
    /// The client overdid something that single requests are allowed.
    #[error("the client sends too many {0}")]
    Flood(&'static str),
    /// The connection to the client broke.
    #[error("the connection to the client broke")]
    Client {
        /// How.
        source: io::Error,
    },
    /// The client ended within a request.
    #[error("the client ended within its {0}")]
    ClientEnded(Stage),
    /// The connection to the server broke when a part of its response had been passed on.
    #[error("the connection to the server broke within its response")]
    Server {
        /// How.
        source: io::Error,
    },
    /// The server ended within its response.
    #[error("the server ended within its {0}")]
    ServerEnded(Stage),
    /// The server was silent within its response.
    #[error("the server's {0} did not come in time")]
    ServerSlow(Stage),
    /// The server sent what is no HTTP, when a part of its response had been passed on.
    #[error("the server's response could not be passed on")]
    Response {
        /// What is wrong.
        #[source]
        source: Malformed,
    },
    /// The gateway had a request's connection reset.
    #[error("the connection was reset as was decided about its request")]
    Reset,
    /// The client broke the rules of HTTP/2.
    #[error("the client's HTTP/2 connection failed")]
    Http2 {
        /// How.
        #[source]
        source: h2::Error,
    },
}

/// A part of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The start line and the fields; of HTTP/2 the preface, too.
    Head,
    /// The body with its framing and trailers.
    Body,
    /// The response, which the client did not read.
    Response,
    /// What follows an upgrade.
    Tunnel,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Response => "response",
            Self::Tunnel => "upgraded connection",
        })
    }
}

/// What is wrong with a message of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// A line of the head ends without CR.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// A CR stands within a line.
    #[error("a CR is not followed by LF")]
    BareCr,
    /// The start line is none.
    #[error("the start line is malformed")]
    StartLine,
    /// The version is neither 1.0 nor 1.1.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// A field continues on the next line, or the first one begins with a space.
    #[error("a field line begins with white space")]
    Folded,
    /// A field's name is no token, or a space follows it.
    #[error("a field's name is malformed")]
    Name,
    /// A field's value holds a control character.
    #[error("a field's value holds a control character")]
    Value,
    /// The head or the trailers are larger than allowed.
    #[error("the fields are larger than allowed")]
    TooLarge,
    /// There are more fields than allowed.
    #[error("there are more fields than allowed")]
    TooMany,
    /// There is no field `host`, more than one, or none that names a host.
    #[error("the request does not name one host")]
    Host,
    /// The target and the field `host` name different hosts.
    #[error("the target and the host field name different hosts")]
    OtherHost,
    /// The length is no single number.
    #[error("the content-length is not one number")]
    Length,
    /// The transfer coding is none that ends the body.
    #[error("the transfer-encoding does not end in chunked, once")]
    Coding,
    /// Both of them are there, or one of them where it must not be.
    #[error("the body's length is told in two ways, or where it has none")]
    Framing,
    /// A chunk's size, extension or end is malformed.
    #[error("a chunk is malformed")]
    Chunk,
    /// A change of the head changed how the body is framed.
    #[error("a change of the head changed the framing of its body")]
    Reframed,
    /// The response is of a kind that the request does not allow.
    #[error("the server switches protocols, which was not asked for")]
    Unasked,
}

impl SessionError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Request { source } => source.help(),
            Self::Slow(_) | Self::ClientEnded(_) => {
                "see whether the client is alive and its network carries more than a trickle"
            }
            Self::Flood(_) => "see what the client does: this is how servers are attacked",
            Self::Client { .. } => "see why the client went away",
            Self::Server { .. } | Self::ServerEnded(_) | Self::ServerSlow(_) => {
                "see the log of the server"
            }
            Self::Response { .. } => {
                "correct the server, or take its traffic out of the rules about requests"
            }
            Self::Reset => "see the rule or the handler that decided so",
            Self::Http2 { .. } => "see what the client sends: nghttp and curl -v show frames",
        }
    }
}

impl Malformed {
    /// What to do next.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::BareLf
            | Self::BareCr
            | Self::StartLine
            | Self::Version
            | Self::Folded
            | Self::Name
            | Self::Value
            | Self::Chunk => {
                "have the client send what RFC 9112 allows, or take it out of the rules about requests"
            }
            Self::TooLarge | Self::TooMany => "have fewer or shorter fields sent, cookies mostly",
            Self::Host | Self::OtherHost => "have the client send one host field, of the target",
            Self::Length | Self::Coding | Self::Framing => {
                "have one content-length or one transfer-encoding sent: more is how requests are smuggled"
            }
            Self::Reframed => "have the handler leave content-length and transfer-encoding alone",
            Self::Unasked => "see the log of the server",
        }
    }
}
