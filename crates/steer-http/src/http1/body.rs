//! Follows a body to its end without changing it.

mod chunks;

use crate::error::Malformed;
use crate::limits::Limits;

use super::framing::Framing;
use chunks::Chunks;

/// How much of a body is still to come.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunks(Chunks),
    /// What comes before the connection ends.
    Close,
}

impl Body {
    pub(super) fn new(framing: Framing, limits: &Limits) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunks(Chunks::new(limits)),
            Framing::Close | Framing::Tunnel => Self::Close,
        }
    }

    /// How many of these bytes, the next that came, are of the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let count =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= count as u64;
                Ok(count)
            }
            Self::Chunks(chunks) => chunks.take(bytes),
            Self::Close => Ok(bytes.len()),
        }
    }

    /// Whether it has come whole, as far as can be told without the end of the connection.
    pub(super) fn ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunks(chunks) => chunks.ended(),
            Self::Close => false,
        }
    }

    /// Whether the end of the connection ends it.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Close)
    }

    /// Bytes that are known to come.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunks(_) | Self::Close => None,
        }
    }
}
