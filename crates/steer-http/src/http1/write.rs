//! Heads to bytes, and bytes to streams.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::fields::{Fields, Line};
use crate::gateway::Refused;
use crate::message::{Request, Version};

use super::head::{RequestHead, ResponseHead};
use super::target;

/// Writes a request's head: as it came where nobody changed it.
pub(super) fn request(out: &mut Vec<u8>, head: &mut RequestHead, absolute: bool) {
    target::settle(&mut head.request, head.authority.as_deref());
    let RequestHead { request, raw, .. } = head;
    let start = start_line(raw);
    let Request { method, target, .. } = &*request;
    let wanted = match absolute {
        true => target::absolute(request),
        false => None,
    };
    let target = wanted.as_deref().unwrap_or(target);
    out.clear();
    if is_start(start, method, target) {
        if request.fields.are_of(raw) {
            return out.extend_from_slice(raw);
        }
        out.extend_from_slice(start);
    } else {
        let version = version(request.version);
        for part in [method, " ", target, " ", version] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    fields(out, &request.fields);
}

/// Writes a response's head: as it came where nobody changed it.
pub(super) fn response(out: &mut Vec<u8>, head: &ResponseHead) {
    let ResponseHead { response, raw, .. } = head;
    let start = start_line(raw);
    let digit = |unit| b'0' + u8::try_from(response.status / unit % 10).expect("a digit");
    out.clear();
    // "HTTP/1.1 " stands before the status.
    if start.get(9..12) == Some(&[digit(100), digit(10), digit(1)]) {
        if response.fields.are_of(raw) {
            return out.extend_from_slice(raw);
        }
        out.extend_from_slice(start);
    } else {
        status_line(out, version(response.version), response.status);
    }
    fields(out, &response.fields);
}

/// Writes a response of ours, without its body where `bodiless`.
pub(super) fn refused(out: &mut Vec<u8>, refused: &Refused, bodiless: bool, last: bool) {
    let Refused {
        status,
        fields: theirs,
        body,
    } = refused;
    out.clear();
    status_line(out, version(Version::Http11), *status);
    let mut made = Fields::default();
    for (name, value) in theirs {
        if may_be_written(name, value) {
            made.add(name.clone(), value.clone());
        }
    }
    made.set("date", crate::date::text());
    if !matches!(status, 204 | 304) {
        made.set("content-length", body.len().to_string());
    }
    if last {
        made.set("connection", "close");
    }
    fields(out, &made);
    if !bodiless && !matches!(status, 204 | 304) {
        out.extend_from_slice(body);
    }
}

/// Whether a field of a response of ours can stand beside those that tell its length.
fn may_be_written(name: &str, value: &str) -> bool {
    let ours = ["content-length", "transfer-encoding", "connection"];
    is_field(name.as_bytes(), value.as_bytes())
        && !ours.iter().any(|our| our.eq_ignore_ascii_case(name))
}

/// Whether a field can be written without becoming more than one.
pub(super) fn is_field(name: &[u8], value: &[u8]) -> bool {
    let control = |b: &u8| *b < b' ' && *b != b'\t' || *b == 0x7f;
    is_token(name) && !value.iter().any(control)
}

pub(super) fn is_token(name: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(allowed)
}

fn status_line(out: &mut Vec<u8>, version: &str, status: u16) {
    let code = http::StatusCode::from_u16(status).ok();
    let reason = code.and_then(|code| code.canonical_reason());
    let line = format!("{version} {status} {}", reason.unwrap_or_default());
    out.extend_from_slice(line.as_bytes());
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 | Version::Http2 => "HTTP/1.1",
    }
}

/// The first line of a head, without its end.
fn start_line(raw: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\r', raw).unwrap_or(raw.len());
    &raw[..end]
}

/// Whether a start line has this method and target.
fn is_start(start: &[u8], method: &str, target: &str) -> bool {
    let rest = start.strip_prefix(method.as_bytes());
    let rest = rest.and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(target.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b" HTTP/"))
}

/// Writes the end of the start line, the fields, and the empty line.
fn fields(out: &mut Vec<u8>, fields: &Fields) {
    out.extend_from_slice(b"\r\n");
    for line in fields.lines() {
        match line {
            Line::AsItCame(line) => out.extend_from_slice(line),
            Line::Made(name, value) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a head and the first bytes of its body, in one go where the stream can.
pub(super) async fn both<W: AsyncWrite + Unpin>(
    to: &mut W,
    mut head: &[u8],
    mut body: &[u8],
) -> io::Result<()> {
    while !head.is_empty() && !body.is_empty() {
        let slices = [IoSlice::new(head), IoSlice::new(body)];
        let count = poll_fn(|cx| Pin::new(&mut *to).poll_write_vectored(cx, &slices)).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = count.min(head.len());
        head = &head[of_head..];
        body = &body[count - of_head..];
    }
    to.write_all(head).await?;
    to.write_all(body).await?;
    to.flush().await
}
