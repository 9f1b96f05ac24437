//! Where the body of a request ends (RFC 9112, section 6).
//!
//! Wherever two readers could disagree about the end, the request is refused: bytes behind the
//! end would be taken for a request to whichever origin the connection goes to.

use crate::reply::Fault;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// By its length.
    Length(u64),
    /// By chunks that carry their lengths, and trailers.
    Chunked,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Body {
    place: Place,
    line: usize,
}

/// A body whose chunks are not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of a request are not well formed")]
pub(crate) struct Malformed;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Plain(u64),
    Size { value: u64, digits: u8 },
    Extension(u64),
    SizeLf(u64),
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Framing {
    /// What the fields of a head say.
    pub(crate) fn of(minor: u8, fields: &[httparse::Header<'_>]) -> Result<Self, Fault> {
        let mut lengths = fields
            .iter()
            .filter(|f| f.name.eq_ignore_ascii_case("content-length"));
        let mut codings = fields
            .iter()
            .filter(|f| f.name.eq_ignore_ascii_case("transfer-encoding"));
        match (
            lengths.next(),
            lengths.next(),
            codings.next(),
            codings.next(),
        ) {
            (None, _, None, _) => Ok(Self::Empty),
            (Some(length), None, None, _) => match number(length.value) {
                Some(0) => Ok(Self::Empty),
                Some(n) => Ok(Self::Length(n)),
                None => Err(Fault::Framing("Content-Length is not a number")),
            },
            (Some(_), Some(_), None, _) => Err(Fault::Framing("Content-Length is given twice")),
            (Some(_), _, Some(_), _) => Err(Fault::Framing(
                "Content-Length and Transfer-Encoding are both given",
            )),
            (None, _, Some(_), Some(_)) => Err(Fault::Framing("Transfer-Encoding is given twice")),
            (None, _, Some(_), None) if minor == 0 => {
                Err(Fault::Framing("HTTP/1.0 knows no Transfer-Encoding"))
            }
            (None, _, Some(coding), None) if coding.value.eq_ignore_ascii_case(b"chunked") => {
                Ok(Self::Chunked)
            }
            (None, _, Some(_), None) => {
                Err(Fault::Unserved("a Transfer-Encoding other than chunked"))
            }
        }
    }
}

impl Body {
    /// A body of which nothing was seen yet.
    pub(crate) const fn new(framing: Framing) -> Self {
        let place = match framing {
            Framing::Empty | Framing::Length(0) => Place::Done,
            Framing::Length(n) => Place::Plain(n),
            Framing::Chunked => SIZE,
        };
        Self { place, line: 0 }
    }

    /// Whether its end was seen.
    pub(crate) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Goes on with the next bytes: how many of them belong to it and are well formed, and
    /// whether what follows them is not.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> (usize, Result<(), Malformed>) {
        let mut used = 0;
        while used < bytes.len() && !self.is_done() {
            let (place, step) = match self.place {
                Place::Plain(left) => {
                    let (left, step) = take(left, &bytes[used..]);
                    let place = match left {
                        0 => Place::Done,
                        _ => Place::Plain(left),
                    };
                    (place, step)
                }
                Place::Chunk(left) => {
                    let (left, step) = take(left, &bytes[used..]);
                    let place = match left {
                        0 => Place::ChunkCr,
                        _ => Place::Chunk(left),
                    };
                    (place, step)
                }
                _ => match self.next(bytes[used]) {
                    Ok(place) => (place, 1),
                    Err(malformed) => return (used, Err(malformed)),
                },
            };
            self.place = place;
            used += step;
        }
        (used, Ok(()))
    }

    /// The place behind a byte that is not content.
    fn next(&mut self, byte: u8) -> Result<Place, Malformed> {
        self.line += 1;
        if self.line > LONGEST {
            return Err(Malformed);
        }
        let text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        Ok(match (self.place, byte) {
            (Place::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Place::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Place::Size { value, digits: 1.. } | Place::Extension(value), b'\r') => {
                Place::SizeLf(value)
            }
            (Place::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => Place::Extension(value),
            (Place::Extension(_), _) if text => self.place,
            (Place::SizeLf(0), b'\n') => Place::TrailerStart,
            (Place::SizeLf(size), b'\n') => {
                self.line = 0;
                Place::Chunk(size)
            }
            (Place::ChunkCr, b'\r') => Place::ChunkLf,
            (Place::ChunkLf, b'\n') => SIZE,
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerStart | Place::Trailer, _) if text => Place::Trailer,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::LastLf, b'\n') => Place::Done,
            _ => return Err(Malformed),
        })
    }
}

/// How much of `left` remains behind the bytes, and how many of them it takes.
fn take(left: u64, bytes: &[u8]) -> (u64, usize) {
    let step = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (left - step as u64, step)
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

const SIZE: Place = Place::Size {
    value: 0,
    digits: 0,
};

/// The longest chunk line, and the longest trailers.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests;
