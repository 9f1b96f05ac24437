//! What the fields of a head say about its body and its connection.

use crate::error::Malformed;
use crate::fields::Fields;
use crate::message::Version;

/// Where the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// With the last of its chunks.
    Chunked,
    /// With the connection: only of responses.
    Close,
    /// What follows is another protocol: only of responses to what asked for it.
    Tunnel,
}

/// What of a request decides about its response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) connect: bool,
    pub(super) upgrade: bool,
}

/// What the fields of a head say, read in one go.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    lengths: usize,
    length: &'a [u8],
    codings: usize,
    coding: &'a [u8],
    close: bool,
    keep_alive: bool,
    pub(super) hosts: usize,
    pub(super) host: &'a [u8],
    pub(super) upgrade: bool,
    pub(super) expect: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(fields: &'a Fields) -> Self {
        let mut facts = Self::default();
        for (name, value) in fields.iter() {
            let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
            match name.len() {
                4 if is(b"host") => {
                    facts.hosts += 1;
                    facts.host = value;
                }
                6 if is(b"expect") => facts.expect = true,
                7 if is(b"upgrade") => facts.upgrade = true,
                10 if is(b"connection") => facts.connection(value),
                14 if is(b"content-length") => {
                    facts.lengths += 1;
                    facts.length = value;
                }
                17 if is(b"transfer-encoding") => {
                    facts.codings += 1;
                    facts.coding = value;
                }
                _ => {}
            }
        }
        facts
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection lasts beyond the message.
    pub(super) fn persistent(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// Whether `keep-alive` is said, without which HTTP/1.0 does not believe in it.
    pub(super) fn says_keep_alive(&self) -> bool {
        self.keep_alive && !self.close
    }

    /// The framing of a request's body.
    pub(super) fn of_request(&self, version: Version, connect: bool) -> Result<Framing, Malformed> {
        let framing = self.told(version)?.unwrap_or(Framing::Empty);
        if connect && !matches!(framing, Framing::Empty | Framing::Length(0)) {
            return Err(Malformed::Framing);
        }
        Ok(framing)
    }

    /// The framing of a response's body.
    pub(super) fn of_response(
        &self,
        version: Version,
        status: u16,
        asked: Asked,
    ) -> Result<Framing, Malformed> {
        // RFC 9112, section 6.1: of HTTP/1.0 its framing cannot be trusted, and its connection ends.
        let doubtful = version == Version::Http10 && self.codings > 0;
        let told = if doubtful { None } else { self.told(version)? };
        Ok(match status {
            101 if asked.upgrade => Framing::Tunnel,
            101 => return Err(Malformed::Unasked),
            200..300 if asked.connect => Framing::Tunnel,
            100..200 | 204 | 304 => Framing::Empty,
            _ if asked.head => Framing::Empty,
            _ => told.unwrap_or(Framing::Close),
        })
    }

    /// What the fields tell. Whatever two readers could understand in two ways is refused: RFC 9112
    /// section 6.3 allows some of it, and smuggling lives on that.
    fn told(&self, version: Version) -> Result<Option<Framing>, Malformed> {
        match (self.lengths, self.codings) {
            (0, 0) => Ok(None),
            (1, 0) => length(self.length).map(|length| Some(Framing::Length(length))),
            (_, 0) => Err(Malformed::Length),
            (0, 1) if version != Version::Http10 && ends_chunked(self.coding) => {
                Ok(Some(Framing::Chunked))
            }
            (0, _) => Err(Malformed::Coding),
            (_, _) => Err(Malformed::Framing),
        }
    }
}

fn length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() {
        return Err(Malformed::Length);
    }
    value.iter().try_fold(0_u64, |length, byte| {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte - b'0'),
            _ => return Err(Malformed::Length),
        };
        let length = length.checked_mul(10).and_then(|l| l.checked_add(digit));
        length.ok_or(Malformed::Length)
    })
}

/// Whether a list of codings ends in `chunked`, which stands there once, behind compressions only.
fn ends_chunked(value: &[u8]) -> bool {
    let mut codings = value.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let last = codings.next().unwrap_or_default();
    let compression = |coding: &[u8]| {
        let known = ["gzip", "deflate", "compress", "x-gzip", "x-compress"];
        known
            .iter()
            .any(|k| coding.eq_ignore_ascii_case(k.as_bytes()))
    };
    last.eq_ignore_ascii_case(b"chunked") && codings.all(compression)
}
