//! Why an exchange could not go on, and by whose fault.

use std::fmt;

use h2::Reason;

/// Why an exchange could not go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client's stream is no more.
    Client(Cause),
    /// The server's stream is no more.
    Server(Cause),
    /// The server sent what cannot be passed on.
    Response(&'static str),
    /// A change of a head left nothing that can be sent.
    Change(&'static str),
    /// Nothing moved for as long as is allowed.
    Idle,
}

/// What became of a stream.
#[derive(Debug)]
pub(super) enum Cause {
    /// The peer reset it.
    Reset(Reason),
    /// The peer takes no more streams, and did not look at this one.
    GoAway(Reason),
    /// The peer broke the rules.
    Rules(Reason),
    /// Its connection is no more.
    Broken(h2::Error),
}

impl From<h2::Error> for Cause {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_library() => Self::Rules(reason),
            Some(reason) if error.is_go_away() => Self::GoAway(reason),
            Some(reason) => Self::Reset(reason),
            None => Self::Broken(error),
        }
    }
}

impl Fault {
    /// The client's stream, as waiting for its reset ended.
    pub(super) fn client(reset: Result<Reason, h2::Error>) -> Self {
        Self::Client(reset.map_or_else(Cause::from, Cause::Reset))
    }

    /// The reason that the client's stream is reset with, where it is not the client's fault.
    pub(super) fn to_client(&self) -> Reason {
        match self {
            Self::Server(Cause::Reset(reason)) => *reason,
            // Whether a stream was not looked at decides about another try.
            Self::Server(Cause::GoAway(_)) => Reason::REFUSED_STREAM,
            Self::Idle => Reason::CANCEL,
            Self::Client(_) | Self::Server(_) | Self::Response(_) | Self::Change(_) => {
                Reason::INTERNAL_ERROR
            }
        }
    }

    /// The reason that the server's stream is reset with, where it is not the server's fault.
    pub(super) fn to_server(&self) -> Reason {
        match self {
            Self::Client(Cause::Reset(reason)) => *reason,
            _ => Reason::CANCEL,
        }
    }

    /// Whether the server asks for the request to be sent again, by another connection.
    pub(super) fn untouched(&self) -> bool {
        matches!(self, Self::Server(Cause::GoAway(Reason::NO_ERROR)))
    }

    /// Whether the server told so about the stream, and the client is to be told the same.
    pub(super) fn told(&self) -> bool {
        matches!(self, Self::Server(Cause::Reset(_) | Cause::GoAway(_)))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(cause) => cause.said(f, "client"),
            Self::Server(cause) => cause.said(f, "server"),
            Self::Response(what) | Self::Change(what) => f.write_str(what),
            Self::Idle => f.write_str("no byte moved for as long as is allowed"),
        }
    }
}

impl Cause {
    /// Says it of a peer.
    fn said(&self, f: &mut fmt::Formatter<'_>, peer: &str) -> fmt::Result {
        match self {
            Self::Reset(reason) => write!(f, "the {peer} reset the stream: {reason}"),
            Self::GoAway(reason) => write!(f, "the {peer} takes no more streams: {reason}"),
            Self::Rules(reason) => write!(f, "the {peer} broke the rules of HTTP/2: {reason}"),
            Self::Broken(error) => write!(f, "the connection to the {peer} broke: {error}"),
        }
    }
}
