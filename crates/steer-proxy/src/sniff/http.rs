//! HTTP/1 request heads and the HTTP/2 preface.
use httparse::{EMPTY_HEADER, Request, Status};

use steer_core::address::HostName;
use steer_core::policy::App;

use super::name::claimed;
use super::{Sniffed, Verdict};

/// RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No registered method is half as long; a longer word is another protocol's.
const LONGEST_METHOD: usize = 32;

/// A head with more fields is not worth a larger stack frame.
const MOST_HEADERS: usize = 96;

pub(super) fn inspect(bytes: &[u8]) -> Verdict {
    if bytes.starts_with(PREFACE) {
        return Verdict::Found(Sniffed::only(App::Http2));
    }
    if PREFACE.starts_with(bytes) {
        return Verdict::NeedMore;
    }
    if bytes.iter().take(LONGEST_METHOD).all(|byte| *byte != b' ') && bytes.len() >= LONGEST_METHOD
    {
        return Verdict::Opaque;
    }
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Partial) => Verdict::NeedMore,
        Ok(Status::Complete(_)) => Verdict::Found(Sniffed {
            app: App::Http1,
            host: host(&request),
            alpn: Vec::new(),
        }),
        Err(httparse::Error::TooManyHeaders) => Verdict::Found(Sniffed::only(App::Http1)),
        // What servers may take for a request is one to the rules: whoever reads it decides.
        Err(_) if resembles(bytes) => Verdict::Found(Sniffed::only(App::Http1)),
        Err(_) => Verdict::Opaque,
    }
}

/// Whether the bytes are what a forgiving server might take for a request: a method and something
/// behind it, or a line that ends in a version.
pub(super) fn resembles(bytes: &[u8]) -> bool {
    let bytes = begin(bytes);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let Some(end) = line.iter().position(u8::is_ascii_whitespace) else {
        return false;
    };
    let version = |part: &[u8]| part.eq_ignore_ascii_case(b"HTTP/");
    is_method(&line[..end]) || line[end..].windows(5).any(version)
}

/// Whether the bytes are a method, or could become one.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let bytes = begin(bytes);
    let word = bytes.split(u8::is_ascii_whitespace).next().unwrap_or(bytes);
    if word.len() < bytes.len() {
        return is_method(word);
    }
    let may_become = |method: &&[u8]| {
        let known = method.get(..word.len());
        known.is_some_and(|known| known.eq_ignore_ascii_case(word))
    };
    !word.is_empty() && METHODS.iter().any(|method| may_become(&method.as_bytes()))
}

/// Without the empty lines that servers pass over (RFC 9112, section 2.2).
fn begin(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let at = bytes.iter().position(|byte| !blank(byte));
    &bytes[at.unwrap_or(bytes.len())..]
}

fn is_method(word: &[u8]) -> bool {
    let mut methods = METHODS.iter();
    methods.any(|method| method.as_bytes().eq_ignore_ascii_case(word))
}

/// The methods of RFC 9110, RFC 5789, RFC 4918, RFC 3253 and RFC 5323.
const METHODS: [&str; 19] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "QUERY",
];

/// Whether the bytes begin with a whole request line.
pub(super) fn has_request_line(bytes: &[u8]) -> bool {
    let mut request = Request::new(&mut []);
    let line = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|end| &bytes[..=end]);
    line.is_some_and(|line| {
        matches!(request.parse(line), Ok(Status::Partial)) && request.version.is_some()
    })
}

/// The authority of the target wins over Host (RFC 9112, section 3.2.2). Two different Host fields
/// name nothing: a reader further on may take the other one.
fn host(request: &Request<'_, '_>) -> Option<HostName> {
    let target = request.path?;
    let authority = if request.method == Some("CONNECT") {
        Some(target)
    } else {
        target
            .split_once("://")
            .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest))
    };
    if let Some(authority) = authority {
        return host_of(authority.rsplit('@').next()?);
    }
    let mut fields = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let first = host_of(str::from_utf8(fields.next()?.value).ok()?.trim())?;
    fields
        .all(|field| str::from_utf8(field.value).ok().and_then(host_of).as_ref() == Some(&first))
        .then_some(first)
}

/// The name in `host[:port]`.
fn host_of(authority: &str) -> Option<HostName> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    claimed(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_in(head: &str) -> Option<String> {
        match inspect(head.as_bytes()) {
            Verdict::Found(Sniffed {
                app: App::Http1,
                host,
                ..
            }) => host.map(String::from),
            other => panic!("{other:?} for {head:?}"),
        }
    }

    #[test]
    fn the_target_wins_over_the_host_field() {
        assert_eq!(
            host_in("GET / HTTP/1.1\r\nhOsT: A.Example:80\r\n\r\n").as_deref(),
            Some("a.example")
        );
        assert_eq!(
            host_in("GET http://u:p@b.example:80/x@y HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .as_deref(),
            Some("b.example")
        );
        assert_eq!(
            host_in("GET http://c.example?q HTTP/1.1\r\n\r\n").as_deref(),
            Some("c.example")
        );
        assert_eq!(
            host_in("CONNECT d.example:443 HTTP/1.1\r\n\r\n").as_deref(),
            Some("d.example")
        );
    }

    #[test]
    fn what_is_no_name_is_no_host() {
        assert_eq!(host_in("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(
            host_in("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n"),
            None
        );
        assert_eq!(
            host_in("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"),
            None
        );
        assert_eq!(
            host_in("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"),
            None
        );
    }

    #[test]
    fn other_protocols_are_opaque_at_once() {
        for first in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "EHLO mail.example\r\n",
            "PING\r\n",
            "*1\r\n$4\r\nPING\r\n",
            "HTTP/1.1 200 OK\r\n",
            "\0\0\0\x08\x04\u{2}",
            "USER anonymous\r\n",
        ] {
            assert_eq!(inspect(first.as_bytes()), Verdict::Opaque, "{first:?}");
        }
        assert_eq!(
            inspect("a".repeat(LONGEST_METHOD).as_bytes()),
            Verdict::Opaque
        );
    }

    #[test]
    fn a_preface_is_http2_and_its_beginning_is_undecided() {
        assert_eq!(inspect(PREFACE), Verdict::Found(Sniffed::only(App::Http2)));
        for end in 0..PREFACE.len() {
            assert_eq!(inspect(&PREFACE[..end]), Verdict::NeedMore);
        }
    }

    #[test]
    fn a_request_line_alone_tells_the_protocol() {
        assert!(has_request_line(b"GET / HTTP/1.1\r\nHo"));
        assert!(!has_request_line(b"GET / HTTP/1.1"));
        assert!(!has_request_line(b"EHLO x\r\n"));
    }
}
