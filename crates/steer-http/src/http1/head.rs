//! Heads from their bytes.

use bytes::Bytes;
use httparse::Status;

use crate::error::Malformed;
use crate::fields::{Fields, Span};
use crate::limits::Limits;
use crate::message::{Request, Response, Version};

use super::framing::{Asked, Facts, Framing};
use super::scan::Scan;
use super::{target, write};

/// The head of a request with what its connection has to know.
#[derive(Debug)]
pub struct RequestHead {
    /// What it says, for the gateway.
    pub request: Request,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the client wants to go on after it.
    pub persistent: bool,
    /// Whether the client waits for an interim response before it sends the body.
    pub expects: bool,
    pub(super) asked: Asked,
    /// The bytes, the empty line included.
    pub(super) raw: Bytes,
    /// The authority as it came.
    pub(super) authority: Option<Bytes>,
}

/// The head of a response with what its connection has to know.
#[derive(Debug)]
pub struct ResponseHead {
    /// What it says, for the gateway.
    pub response: Response,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the server wants to go on after it.
    pub persistent: bool,
    pub(super) says_keep_alive: bool,
    /// The bytes, the empty line included.
    pub(super) raw: Bytes,
}

impl RequestHead {
    /// Refuses changes after which the head would no longer tell the end of its body, or its own.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let Self { request, asked, .. } = self;
        let Request {
            version,
            method,
            target,
            authority,
            fields,
        } = request;
        let connect = method == "CONNECT";
        if (method == "HEAD", connect) != (asked.head, asked.connect) {
            return Err(Malformed::Reframed);
        }
        let authority = authority.as_deref().unwrap_or_default();
        let split = |text: &str| text.bytes().any(|b| b <= b' ' || b == 0x7f);
        if !write::is_token(method.as_bytes()) || target.is_empty() {
            return Err(Malformed::StartLine);
        }
        if split(target) || split(authority) {
            return Err(Malformed::StartLine);
        }
        if fields.are_of(&self.raw) {
            return Ok(());
        }
        can_be_written(fields)?;
        match Facts::of(fields).of_request(*version, connect) {
            Ok(framing) if framing == self.framing => Ok(()),
            _ => Err(Malformed::Reframed),
        }
    }
}

impl ResponseHead {
    /// Refuses changes after which the head would no longer tell the end of its body, or its own.
    pub(super) fn check(&self, status: u16, asked: Asked) -> Result<(), Malformed> {
        let Response {
            version: _,
            status: wanted,
            fields,
        } = &self.response;
        if fields.are_of(&self.raw) && *wanted == status {
            return Ok(());
        }
        if !(100..1000).contains(wanted) {
            return Err(Malformed::StartLine);
        }
        can_be_written(fields)?;
        // An interim response is followed by another one, which a last one is not.
        if (*wanted < 200) != (status < 200) {
            return Err(Malformed::Reframed);
        }
        match Facts::of(fields).of_response(self.response.version, *wanted, asked) {
            Ok(framing) if framing == self.framing => Ok(()),
            _ => Err(Malformed::Reframed),
        }
    }

    /// Whether the connection of a request of this version goes on after the body.
    pub(super) fn lasts(&self, version: Version) -> bool {
        let believed = version != Version::Http10 || self.says_keep_alive;
        self.framing != Framing::Close && self.persistent && believed
    }
}

fn can_be_written(fields: &Fields) -> Result<(), Malformed> {
    let mut made = fields.made();
    match made.all(|(name, value)| write::is_field(name, value)) {
        true => Ok(()),
        false => Err(Malformed::Value),
    }
}

/// The head of a request that `bytes` begin with, and its length; none while more is needed.
///
/// ```
/// use steer_http::{Limits, http1};
///
/// let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
/// let (head, length) = http1::parse_request(bytes, &Limits::default())?.expect("a whole head");
/// assert_eq!((head.request.authority.as_deref(), length), (Some("a"), 27));
/// # Ok::<_, steer_http::Malformed>(())
/// ```
pub fn parse_request(
    bytes: &[u8],
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, Malformed> {
    let mut scan = Scan::default();
    match scan.end(bytes, limits)? {
        None => Ok(None),
        Some(end) => Ok(Some((request(&bytes[..end], scan.fields())?, end))),
    }
}

/// The head of a response to a GET that `bytes` begin with, and its length; none while more is
/// needed.
pub fn parse_response(
    bytes: &[u8],
    limits: &Limits,
) -> Result<Option<(ResponseHead, usize)>, Malformed> {
    let mut scan = Scan::default();
    let asked = Asked {
        head: false,
        connect: false,
        upgrade: false,
    };
    match scan.end(bytes, limits)? {
        None => Ok(None),
        Some(end) => Ok(Some((response(&bytes[..end], scan.fields(), asked)?, end))),
    }
}

/// A request's whole head with so many field lines.
pub(super) fn request(head: &[u8], lines: usize) -> Result<RequestHead, Malformed> {
    let raw = Bytes::copy_from_slice(head);
    let (method, target, version, fields) = with_room(lines, |room| {
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(&raw, room);
        whole(status, &raw)?;
        let version = version(parsed.version)?;
        let method = parsed.method.ok_or(Malformed::StartLine)?.to_owned();
        let target = parsed.path.ok_or(Malformed::StartLine)?.to_owned();
        let fields = fields(&raw, parsed.headers, lines)?;
        Ok((method, target, version, fields))
    })?;
    let facts = Facts::of(&fields);
    let authority = target::authority(&method, &target, version, &facts)?;
    let asked = Asked {
        head: method == "HEAD",
        connect: method == "CONNECT",
        upgrade: facts.upgrade && version == Version::Http11,
    };
    Ok(RequestHead {
        framing: facts.of_request(version, asked.connect)?,
        persistent: facts.persistent(version),
        expects: facts.expect,
        asked,
        authority: authority.map(|text| shared(&raw, text.as_bytes(), facts.host)),
        request: Request {
            version,
            authority: authority.map(str::to_owned),
            method,
            target,
            fields,
        },
        raw,
    })
}

/// A text of the head, or of a copy, as bytes.
fn shared(raw: &Bytes, text: &[u8], host: &[u8]) -> Bytes {
    if text == host {
        raw.slice_ref(host)
    } else {
        Bytes::copy_from_slice(text)
    }
}

/// A response's whole head with so many field lines.
pub(super) fn response(head: &[u8], lines: usize, asked: Asked) -> Result<ResponseHead, Malformed> {
    let raw = Bytes::copy_from_slice(head);
    let (status, version, fields) = with_room(lines, |room| {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status = config.parse_response_with_uninit_headers(&mut parsed, &raw, room);
        whole(status, &raw)?;
        let version = version(parsed.version)?;
        let code = parsed.code.filter(|code| *code >= 100);
        let fields = fields(&raw, parsed.headers, lines)?;
        Ok((code.ok_or(Malformed::StartLine)?, version, fields))
    })?;
    let facts = Facts::of(&fields);
    Ok(ResponseHead {
        framing: facts.of_response(version, status, asked)?,
        persistent: facts.persistent(version),
        says_keep_alive: facts.says_keep_alive(),
        response: Response {
            version,
            status,
            fields,
        },
        raw,
    })
}

type Room<'a> = std::mem::MaybeUninit<httparse::Header<'a>>;

/// Calls with room for so many fields: on the stack where they are as few as they mostly are.
fn with_room<'h, T>(
    lines: usize,
    parse: impl FnOnce(&mut [Room<'h>]) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if lines <= USUAL {
        parse(&mut [const { Room::uninit() }; USUAL][..lines])
    } else {
        let mut room = Vec::new();
        room.resize_with(lines, Room::uninit);
        parse(&mut room)
    }
}

/// So many fields do most heads have.
const USUAL: usize = 48;

fn whole(status: httparse::Result<usize>, head: &[u8]) -> Result<(), Malformed> {
    match status {
        Ok(Status::Complete(end)) if end == head.len() => Ok(()),
        // The end was found before: what is not understood to there is no head.
        Ok(_) => Err(Malformed::StartLine),
        Err(error) => Err(cause(error, head)),
    }
}

/// Why a head is none, rather than where the tokeniser stopped.
fn cause(error: httparse::Error, head: &[u8]) -> Malformed {
    let bare_cr = |pair: &[u8]| pair[0] == b'\r' && pair[1] != b'\n';
    let folded = |end: &[u8]| end.starts_with(b"\r\n ") || end.starts_with(b"\r\n\t");
    if head.windows(2).any(bare_cr) {
        return Malformed::BareCr;
    }
    match error {
        httparse::Error::HeaderName if head.windows(3).any(folded) => Malformed::Folded,
        httparse::Error::HeaderName => Malformed::Name,
        httparse::Error::HeaderValue => Malformed::Value,
        httparse::Error::NewLine => Malformed::BareCr,
        httparse::Error::TooManyHeaders => Malformed::TooMany,
        httparse::Error::Version if has_version(head) => Malformed::Version,
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            Malformed::StartLine
        }
    }
}

/// Whether some version stands where one should, of a request or a response.
fn has_version(head: &[u8]) -> bool {
    let mut words = head.split(|byte| *byte == b' ');
    let mut is_version = |at| words.nth(at).is_some_and(|word| word.starts_with(b"HTTP/"));
    is_version(0) || is_version(1)
}

fn version(minor: Option<u8>) -> Result<Version, Malformed> {
    match minor {
        Some(0) => Ok(Version::Http10),
        Some(1) => Ok(Version::Http11),
        _ => Err(Malformed::Version),
    }
}

/// The fields with their lines. Each line of the head must be one field's: what the tokeniser
/// would pass over (a folded line, an empty one) shifts them and is refused.
fn fields(
    head: &Bytes,
    parsed: &[httparse::Header<'_>],
    lines: usize,
) -> Result<Fields, Malformed> {
    if parsed.len() != lines {
        return Err(Malformed::Folded);
    }
    let mut fields = Fields::of_head(head.clone(), parsed.len() + 4);
    let mut line = line_end(head, 0) + 2;
    for field in parsed {
        let end = line_end(head, line);
        let name = Span::new(line, line + field.name.len());
        if name.of(head) != field.name.as_bytes() || head[line + field.name.len()] != b':' {
            return Err(Malformed::Name);
        }
        let after = line + field.name.len() + 1;
        let spaces = head[after..end].iter().take_while(|b| b" \t".contains(b));
        let from = after + spaces.count();
        let to = from + field.value.len();
        if to > end || head[from..to] != *field.value {
            return Err(Malformed::Value);
        }
        fields.came(name, Span::new(from, to), Span::new(line, end));
        line = end + 2;
    }
    Ok(fields)
}

/// Where the line that begins at `from` ends, before its CR LF.
fn line_end(head: &[u8], from: usize) -> usize {
    let lf = memchr::memchr(b'\n', &head[from..]).expect("each line of a head has its end");
    (from + lf).saturating_sub(1)
}
