//! Follows chunks and trailers (RFC 9112, 7.1), more strictly than readers may: what two of them
//! could read in two ways is refused.

use crate::error::Malformed;
use crate::limits::Limits;

/// A chunked body being followed.
#[derive(Debug)]
pub(in crate::http1) struct Chunks {
    at: At,
    /// Bytes of the line, or of all trailers, that may still come.
    room: usize,
    fields: usize,
    trailers: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Digits of a size, so many of which came.
    Size {
        size: u64,
        digits: u8,
    },
    /// The rest of a chunk's first line; `quoted` within quotes.
    Extension {
        size: u64,
        quoted: bool,
        escaped: bool,
    },
    /// The LF after it.
    SizeLf {
        size: u64,
    },
    /// So many bytes of the chunk.
    Data(u64),
    /// The CR and the LF after it.
    DataCr,
    DataLf,
    /// The first byte of a trailer's line, or of the empty one.
    Line,
    Name,
    Value,
    ValueLf,
    /// The LF of the empty line.
    LastLf,
    End,
}

impl Chunks {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            at: SIZE,
            room: LINE,
            fields: limits.fields,
            trailers: limits.head,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.at {
                At::End => break,
                At::Data(left) => {
                    let here = bytes.len() - taken;
                    let count = usize::try_from(left).map_or(here, |left| left.min(here));
                    taken += count;
                    self.at = match left - count as u64 {
                        0 => At::DataCr,
                        left => At::Data(left),
                    };
                }
                _ => {
                    self.byte(bytes[taken])?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        let trailer = matches!(self.at, At::Line | At::Name | At::Value | At::ValueLf);
        if trailer || matches!(self.at, At::Extension { .. }) {
            let full = if trailer {
                Malformed::TooLarge
            } else {
                Malformed::Chunk
            };
            self.room = self.room.checked_sub(1).ok_or(full)?;
        }
        self.at = match (self.at, byte) {
            (At::Size { size, digits }, _) => size_byte(size, digits, byte)?,
            (
                At::Extension {
                    size,
                    quoted: false,
                    ..
                },
                b'\r',
            ) => At::SizeLf { size },
            (
                At::Extension {
                    size,
                    quoted,
                    escaped,
                },
                b'\t' | b' '..=b'~' | 0x80..,
            ) => At::Extension {
                size,
                quoted: quoted ^ (byte == b'"' && !escaped),
                escaped: quoted && byte == b'\\' && !escaped,
            },
            (At::SizeLf { size: 0 }, b'\n') => {
                self.room = self.trailers;
                At::Line
            }
            (At::SizeLf { size }, b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.room = LINE;
                SIZE
            }
            (At::Line, b'\r') => At::LastLf,
            (At::Line, _) if is_token(byte) => {
                self.fields = self.fields.checked_sub(1).ok_or(Malformed::TooMany)?;
                At::Name
            }
            (At::Line, b' ' | b'\t') => return Err(Malformed::Folded),
            (At::Name, b':') => At::Value,
            (At::Name, _) if is_token(byte) => At::Name,
            (At::Line | At::Name, _) => return Err(Malformed::Name),
            (At::Value, b'\r') => At::ValueLf,
            (At::Value, b'\t' | b' '..=b'~' | 0x80..) => At::Value,
            (At::Value, b'\n') => return Err(Malformed::BareLf),
            (At::Value, _) => return Err(Malformed::Value),
            (At::ValueLf, b'\n') => At::Line,
            (At::LastLf, b'\n') => At::End,
            (At::ValueLf | At::LastLf, _) => return Err(Malformed::BareCr),
            (At::Extension { .. } | At::SizeLf { .. } | At::DataCr | At::DataLf, _) => {
                return Err(Malformed::Chunk);
            }
            (At::Data(_) | At::End, _) => unreachable!("taken without a look at its bytes"),
        };
        Ok(())
    }
}

fn size_byte(size: u64, digits: u8, byte: u8) -> Result<At, Malformed> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(At::SizeLf { size }),
        b';' if digits > 0 => {
            return Ok(At::Extension {
                size,
                quoted: false,
                escaped: false,
            });
        }
        _ => return Err(Malformed::Chunk),
    };
    // Sixteen digits hold any size; one with more is made to overflow some reader.
    if digits == 16 {
        return Err(Malformed::Chunk);
    }
    Ok(At::Size {
        size: size << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const SIZE: At = At::Size { size: 0, digits: 0 };
/// The longest extension of a chunk.
const LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &[u8], cut: usize) -> Result<(usize, bool), Malformed> {
        let limits = Limits {
            head: 64,
            fields: 2,
            ..Limits::default()
        };
        let mut chunks = Chunks::new(&limits);
        let first = chunks.take(&bytes[..cut])?;
        let rest = if first == cut {
            chunks.take(&bytes[cut..])?
        } else {
            0
        };
        Ok((first + rest, chunks.ended()))
    }

    #[test]
    fn chunks_end_with_their_trailers_wherever_they_are_cut() {
        let bytes = b"5;a=\"\\\";\r\"\r\nhello\r\n";
        assert_eq!(take(bytes, bytes.len()), Err(Malformed::Chunk));
        let bytes = b"5;a=\"\\\";\"\r\nhello\r\n0aB\r\n";
        let data = [
            &bytes[..],
            &[b'x'; 0xab],
            b"\r\n000;last\r\nA: b\r\nC:\r\n\r\nGET",
        ]
        .concat();
        for cut in 0..data.len() {
            assert_eq!(take(&data, cut), Ok((data.len() - 3, true)), "cut at {cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused_wherever_they_are_cut() {
        for (bytes, why) in [
            (&b"\r\n"[..], Malformed::Chunk),
            (b"-1\r\n", Malformed::Chunk),
            (b"+1\r\n", Malformed::Chunk),
            (b"0x1\r\n", Malformed::Chunk),
            (b" 1\r\n", Malformed::Chunk),
            (b"1 \r\n", Malformed::Chunk),
            (b"1\n", Malformed::Chunk),
            (b"1\ra", Malformed::Chunk),
            (b"1;a\nb", Malformed::Chunk),
            (b"1;a\0b", Malformed::Chunk),
            (b"10000000000000000\r\n", Malformed::Chunk),
            (b"1\r\nab\r\n", Malformed::Chunk),
            (b"1\r\na\n", Malformed::Chunk),
            (b"1\r\na\rb", Malformed::Chunk),
            (b"0\r\n a: b", Malformed::Folded),
            (b"0\r\na : b", Malformed::Name),
            (b"0\r\n: b", Malformed::Name),
            (b"0\r\na: \0", Malformed::Value),
            (b"0\r\na: b\n", Malformed::BareLf),
            (b"0\r\na: b\rc", Malformed::BareCr),
            (b"0\r\n\ra", Malformed::BareCr),
            (b"0\r\na:\r\nb:\r\nc:\r\n", Malformed::TooMany),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(
                    take(bytes, cut),
                    Err(why),
                    "{:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
        let long = [&b"0\r\na:"[..], &[b'x'; 64]].concat();
        assert_eq!(take(&long, 9), Err(Malformed::TooLarge));
        let long = [&b"1;"[..], &[b'x'; LINE + 1]].concat();
        assert_eq!(take(&long, 9), Err(Malformed::Chunk));
    }
}
