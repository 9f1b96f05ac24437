//! Requests in absolute form (RFC 9112, section 3.2.2): one request a connection, passed on in
//! origin form with every other byte as it was.

use std::io;

use async_trait::async_trait;
use steer_core::address::Destination;
use steer_core::steered::{Answer, Flow, Refusal};

use crate::farewell::farewell;
use crate::reply::{Detail, Fault, refusal};
use crate::request::Parts;

/// The destination of a request and its head as the origin gets it.
///
/// - The target loses scheme and authority, and `Host` says what the authority said.
/// - Fields for the next hop alone (RFC 9110, section 7.6.1) are left out, `Connection: close`
///   takes their place: the connection belongs to one origin and cannot serve another request.
/// - Order, case and spacing of all else stay.
pub(crate) fn rewrite(parts: &Parts<'_>) -> Result<(Destination, Vec<u8>), Fault> {
    let Parts {
        method,
        target,
        minor,
        fields,
        lines,
    } = parts;
    let target = Target::parse(method, target)?;
    let named = connection_options(fields)?;
    let mut head = format!("{method} {} HTTP/1.{minor}\r\n", target.origin).into_bytes();
    let (mut hosts, mut closes) = (0, 0);
    if *minor == 0 && !fields.iter().any(|f| is(f.name, "host")) {
        push(&mut head, &[b"Host: ", target.authority.as_bytes()]);
        hosts += 1;
    }
    for (field, line) in fields.iter().zip(lines) {
        if is(field.name, "host") {
            hosts += 1;
            if field.value == target.authority.as_bytes() {
                push(&mut head, &[line]);
            } else {
                push(
                    &mut head,
                    &[before_value(line), target.authority.as_bytes()],
                );
            }
        } else if is(field.name, "connection") {
            closes += 1;
            if closes == 1 {
                push(&mut head, &[field.name.as_bytes(), b": close"]);
            }
        } else if !HOP_BY_HOP.iter().any(|name| is(field.name, name))
            && !named.iter().any(|name| is(field.name, name))
        {
            push(&mut head, &[line]);
        }
    }
    if hosts != 1 {
        return Err(Fault::Malformed("it must have one Host field"));
    }
    if closes == 0 {
        push(&mut head, &[b"Connection: close"]);
    }
    head.extend(b"\r\n");
    Ok((target.destination, head))
}

/// Tells how the dial ended: nothing where the origin answers, else a status.
#[derive(Debug)]
pub(crate) struct AbsoluteAnswer {
    /// For the words of a refusal.
    pub(crate) destination: Destination,
    /// Whether a refusal may have a body.
    pub(crate) detail: Detail,
}

#[async_trait]
impl Answer for AbsoluteAnswer {
    fn is_awaited(&self) -> bool {
        false
    }

    async fn connected(&mut self, _flow: &mut Flow) -> io::Result<()> {
        Ok(())
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        farewell(flow, &refusal(why, &self.destination, self.detail)).await;
    }
}

/// A target in absolute form, taken apart.
#[derive(Debug)]
struct Target<'a> {
    destination: Destination,
    authority: &'a str,
    origin: String,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Result<Self, Fault> {
        let Some((scheme, rest)) = target.split_once("://") else {
            return Err(Fault::Target(
                "ask for http://HOST/PATH, or CONNECT to HOST:PORT",
            ));
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Fault::Unserved(
                "a scheme other than http (use CONNECT for https)",
            ));
        }
        if target.contains('#') {
            return Err(Fault::Target("a target has no fragment"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Fault::Target("a target has no name and password"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        let port = match port {
            "" => Some(80),
            _ if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse::<u16>().ok().filter(|port| *port > 0)
            }
            _ => None,
        };
        let destination = port
            .filter(|_| !host.contains(':') || host.starts_with('['))
            .and_then(|port| Destination::parse_host(host, port).ok())
            .ok_or(Fault::Target("its host or its port does not parse"))?;
        let origin = match (path.chars().next(), method) {
            // RFC 9112, section 3.2.4: that is how `OPTIONS *` passes a proxy.
            (None, "OPTIONS") => "*".to_owned(),
            (Some('/'), _) => path.to_owned(),
            _ => format!("/{path}"),
        };
        Ok(Self {
            destination,
            authority,
            origin,
        })
    }
}

/// The names that `Connection` lists.
fn connection_options<'a>(fields: &[httparse::Header<'a>]) -> Result<Vec<&'a str>, Fault> {
    let mut options = Vec::new();
    for field in fields.iter().filter(|f| is(f.name, "connection")) {
        let text = std::str::from_utf8(field.value)
            .map_err(|_| Fault::Malformed("its Connection field does not parse"))?;
        options.extend(text.split(',').map(str::trim).filter(|o| !o.is_empty()));
    }
    // Leaving these out would change where the request ends or whose it is.
    let kept = ["host", "content-length", "transfer-encoding"];
    if options.iter().any(|o| kept.iter().any(|name| is(o, name))) {
        return Err(Fault::Malformed(
            "its Connection field lists one that is not for the next hop alone",
        ));
    }
    Ok(options)
}

/// A field's line up to its value.
fn before_value(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|b| *b == b':').unwrap_or(0);
    let value = line[colon + 1..].trim_ascii_start();
    &line[..line.len() - value.len()]
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn push(head: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        head.extend_from_slice(piece);
    }
    head.extend_from_slice(b"\r\n");
}

/// Fields for the next hop alone, whether `Connection` lists them or not. `Transfer-Encoding` is
/// not among them: the body passes as it is framed.
const HOP_BY_HOP: [&str; 5] = [
    "proxy-connection",
    "proxy-authorization",
    "keep-alive",
    "te",
    "upgrade",
];

#[cfg(test)]
mod tests;
