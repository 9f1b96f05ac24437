//! Version 1: a line of text.

use std::net::{IpAddr, SocketAddr};

use super::{Header, HeaderError, Origin};
use crate::address::{Family, Protocol, canonical};

/// What a line begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, its end included.
const LONGEST_LINE: usize = 107;

pub(super) fn encode(origin: &Origin) -> Vec<u8> {
    let Origin::Ip {
        protocol: Protocol::Tcp,
        client,
        destination,
    } = origin
    else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (word, [from, to]) = match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", [from.to_string(), to.to_string()]),
        (from, to) => ("TCP6", [from, to].map(mapped)),
    };
    let (from_port, to_port) = (client.port(), destination.port());
    format!("PROXY {word} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn mapped(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE {
            Ok(None)
        } else {
            Err(HeaderError::Endless)
        };
    };
    let line =
        std::str::from_utf8(&bytes[..end]).map_err(|_| HeaderError::Line("it is no text"))?;
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let family = match next() {
        "TCP4" => Family::V4,
        "TCP6" => Family::V6,
        // The rest of the line is to be ignored.
        "UNKNOWN" => return Ok(Some((header(Origin::Unknown), end + 2))),
        _ => return Err(HeaderError::Line("the protocol is none of the three")),
    };
    let [from, to, from_port, to_port] = [next(), next(), next(), next()];
    if words.next().is_some() {
        return Err(HeaderError::Line("it has more than six words"));
    }
    let origin = Origin::Ip {
        protocol: Protocol::Tcp,
        client: endpoint(family, from, from_port)?,
        destination: endpoint(family, to, to_port)?,
    };
    Ok(Some((header(origin), end + 2)))
}

fn header(origin: Origin) -> Header {
    Header {
        origin,
        tlvs: Vec::new(),
    }
}

fn endpoint(family: Family, ip: &str, port: &str) -> Result<SocketAddr, HeaderError> {
    let parsed = match family {
        Family::V4 => ip.parse().map(IpAddr::V4),
        Family::V6 => ip.parse().map(IpAddr::V6),
    };
    let ip = parsed.map_err(|_| HeaderError::Line("an address is none of its family"))?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let spelt = digits && (port == "0" || !port.starts_with('0'));
    match port.parse() {
        Ok(port) if spelt => Ok(canonical(SocketAddr::new(ip, port))),
        _ => Err(HeaderError::Line("a port is no number up to 65535")),
    }
}
