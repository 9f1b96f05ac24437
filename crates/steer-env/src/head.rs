//! Reading the head of an HTTP/1 message, and not a byte more.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::handshake::End;
use crate::reply::Fault;

/// A connection whose bytes can be looked at before they are taken.
pub(crate) trait Peek: AsyncRead + AsyncWrite + Send + Unpin {
    /// Waits for bytes and gives the first of them, which stay; none at the end of the stream.
    fn peek(&mut self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Peek for TcpStream {
    fn peek(&mut self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        Self::peek(self, bytes)
    }
}

/// Reads a head with the empty line at its end; what follows stays in the socket.
///
/// The bytes are looked at in the socket first, so that the connection can be spliced afterwards.
/// What was looked at and belongs to the head is taken at once, so that waiting for more really
/// waits.
pub(crate) async fn read_head<S: Peek>(stream: &mut S) -> Result<Vec<u8>, End> {
    let mut scanner = Scanner::default();
    let mut head = Vec::new();
    loop {
        let start = head.len();
        head.resize(start + STEP, 0);
        let seen = stream.peek(&mut head[start..]).await?;
        if seen == 0 {
            return Err(End::Silent("the client left within the head"));
        }
        let end = scanner.push(&head[start..start + seen])?;
        let taken = end.unwrap_or(seen);
        stream.read_exact(&mut head[start..start + taken]).await?;
        head.truncate(start + taken);
        if end.is_some() {
            return Ok(head);
        }
    }
}

/// Finds the end of a head, byte by byte.
///
/// Stricter than RFC 9112 must be: lines end with CR and LF together. Parsers that differ about a
/// lone CR or LF are how requests are smuggled.
#[derive(Debug, Default)]
struct Scanner {
    length: usize,
    method: Method,
    line: Line,
}

/// How much of the method was seen; text that is no method is refused before a line is complete.
#[derive(Debug, Clone, Copy)]
enum Method {
    Bytes(u8),
    Complete,
}

impl Default for Method {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

#[derive(Debug, Default, Clone, Copy)]
enum Line {
    #[default]
    Text,
    Cr,
    Start,
    StartCr,
}

impl Scanner {
    /// Goes on with the next bytes: how many of them belong to the head, once its end is found.
    fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        for (index, byte) in bytes.iter().copied().enumerate() {
            self.length += 1;
            if self.length > LONGEST {
                return Err(Fault::TooLong);
            }
            self.method = self.method.push(byte)?;
            self.line = match (self.line, byte) {
                (Line::Text, b'\r') => Line::Cr,
                (Line::Start, b'\r') => Line::StartCr,
                (Line::Cr, b'\n') => Line::Start,
                (Line::StartCr, b'\n') => return Ok(Some(index + 1)),
                (Line::Cr | Line::StartCr, _) => {
                    return Err(Fault::Malformed("a carriage return stands alone"));
                }
                (_, b'\n') => return Err(Fault::Malformed("a line feed stands alone")),
                (_, 0) => return Err(Fault::Malformed("it holds a zero byte")),
                (Line::Text | Line::Start, _) => Line::Text,
            };
        }
        Ok(None)
    }
}

impl Method {
    fn push(self, byte: u8) -> Result<Self, Fault> {
        match (self, byte) {
            (Self::Complete, _) => Ok(self),
            // Empty lines before a request are ignored (RFC 9112, section 2.2).
            (Self::Bytes(0), b'\r' | b'\n') => Ok(self),
            (Self::Bytes(1..), b' ') => Ok(Self::Complete),
            (Self::Bytes(n), _) if n < LONGEST_METHOD && is_token(byte) => Ok(Self::Bytes(n + 1)),
            (Self::Bytes(_), _) => Err(Fault::Malformed("it does not begin with a method")),
        }
    }
}

/// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How much is looked at at a time.
const STEP: usize = 2048;

/// The longest head.
const LONGEST: usize = 64 * 1024;

/// The longest method; the registry's longest has 17 bytes.
const LONGEST_METHOD: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the head ends when its bytes arrive in parts of the given sizes.
    fn end(bytes: &[u8], sizes: &[usize]) -> Result<Option<usize>, Fault> {
        let mut scanner = Scanner::default();
        let mut start = 0_usize;
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let stop = start.saturating_add(size).min(bytes.len());
            if let Some(n) = scanner.push(&bytes[start..stop])? {
                return Ok(Some(start + n));
            }
            start = stop;
        }
        Ok(None)
    }

    #[test]
    fn the_end_is_the_first_empty_line() {
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nbody", &[]), Ok(Some(18)));
        assert_eq!(end(b"\r\nGET / HTTP/1.1\r\n\r\n", &[]), Ok(Some(20)));
        assert_eq!(end(b"GET / HTTP/1.1\r\na: b\r\n", &[]), Ok(None));
    }

    #[test]
    fn lone_line_ends_zero_bytes_and_what_has_no_method_are_refused_at_once() {
        for wrong in [
            &b"GET / HTTP/1.1\n"[..],
            b"GET / HTTP/1.1\r\r",
            b"GET / HTTP/1.1\r\na: b\n",
            b"GET / HTTP/1.1\r\n\n",
            b"GET / HTTP/1.1\r\na\0",
            b"{\"json\"",
            b" GET",
            b"hello\r\n",
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let fault = end(wrong, &[]);
            assert!(
                matches!(fault, Err(Fault::Malformed(_))),
                "{wrong:?} {fault:?}"
            );
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let line = [b"GET /", &vec![b'a'; LONGEST][..]].concat();
        assert_eq!(end(&line, &[]), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            bytes in "(GET|\r\n| |a|:|\r|\n|\0){0,12}(\r\n\r\n)?[a-z]{0,5}",
            sizes in proptest::collection::vec(0_usize..6, 0..20),
        ) {
            prop_assert_eq!(end(bytes.as_bytes(), &sizes), end(bytes.as_bytes(), &[]));
        }
    }
}
