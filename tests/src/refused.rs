//! A connection that was not made, in the terms of the method.

use lab::{End, Failure};

/// How a client learns that it has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its `connect` failed.
    Connect(Failure),
    /// The proxy answered with this HTTP status.
    Http(u16),
    /// The proxy answered with this code of SOCKS5.
    Socks5(u8),
    /// It was connected, and then this happened before a byte came.
    Ended(End),
}

impl Refused {
    /// Whether a client that knows of no proxy takes it for a refusal: an error of `connect`, or
    /// a reset before the first byte. An orderly end would look like an empty answer.
    pub fn is_an_error(self) -> bool {
        match self {
            Self::Connect(Failure::TimedOut) => false,
            Self::Connect(_) => true,
            Self::Http(status) => status >= 400,
            Self::Socks5(code) => code != 0,
            Self::Ended(end) => end == End::Reset,
        }
    }
}
