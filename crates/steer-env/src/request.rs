//! A request's head, read once: who asks, for what, and where its body ends.

use steer_core::address::Destination;

use crate::absolute;
use crate::connect;
use crate::framing::Framing;
use crate::login::Login;
use crate::reply::{Detail, Fault};

/// What a client of the HTTP side asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A tunnel.
    Connect(Destination),
    /// One request to pass on.
    Absolute {
        /// Where to.
        destination: Destination,
        /// The head as the origin gets it.
        head: Vec<u8>,
        /// Where the body ends.
        framing: Framing,
        /// Whether an answer of ours may have a body.
        detail: Detail,
    },
}

/// A head in its parts; the fields' lines are kept as they were sent.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The method.
    pub(crate) method: &'a str,
    /// The target.
    pub(crate) target: &'a str,
    /// The minor version of HTTP/1.
    pub(crate) minor: u8,
    /// The fields.
    pub(crate) fields: &'a [httparse::Header<'a>],
    /// The line of each field, without its end.
    pub(crate) lines: Vec<&'a [u8]>,
}

impl Request {
    /// Reads a complete head.
    pub(crate) fn parse(head: &[u8], login: Option<&Login>) -> Result<Self, Fault> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(httparse::Status::Complete(n)) if n == head.len() => {}
            Ok(_) => return Err(Fault::Malformed("its head ends in an unexpected place")),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLong),
            Err(httparse::Error::Version) => {
                return Err(Fault::Malformed("its version is not HTTP/1.1 or HTTP/1.0"));
            }
            Err(_) => return Err(Fault::Malformed("its head does not parse")),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Fault::Malformed("its first line is incomplete"));
        };
        let fields = &*request.headers;
        let lines = field_lines(head);
        if lines.len() != fields.len() {
            return Err(Fault::Malformed("its lines are not its fields"));
        }
        if login.is_some_and(|login| !admitted(login, fields)) {
            return Err(Fault::Login);
        }
        let framing = Framing::of(minor, fields)?;
        if method == "CONNECT" {
            return Ok(Self::Connect(connect::destination(target, framing)?));
        }
        let (destination, head) = absolute::rewrite(&Parts {
            method,
            target,
            minor,
            fields,
            lines,
        })?;
        Ok(Self::Absolute {
            destination,
            head,
            framing,
            detail: if method == "HEAD" {
                Detail::None
            } else {
                Detail::Line
            },
        })
    }
}

/// Whether exactly one login is given, and it is the right one.
fn admitted(login: &Login, fields: &[httparse::Header<'_>]) -> bool {
    let mut given = fields
        .iter()
        .filter(|f| f.name.eq_ignore_ascii_case("proxy-authorization"));
    match (given.next(), given.next()) {
        (Some(field), None) => login.admits_basic(field.value),
        _ => false,
    }
}

/// The lines between the first one and the empty one.
fn field_lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = head
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty())
        .skip(1)
        .collect();
    while lines.pop_if(|line| line.is_empty()).is_some() {}
    lines
}

/// The most fields of a head.
const MOST_FIELDS: usize = 128;
