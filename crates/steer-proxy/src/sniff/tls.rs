//! TLS ClientHello messages (RFC 8446, section 4.1.2; RFC 6066, section 3; RFC 7301).
use steer_core::address::HostName;
use steer_core::policy::App;

use super::name::claimed;
use super::{Sniffed, Verdict};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const LONGEST_RECORD: usize = 1 << 14;

/// Whether these first bytes can still become a ClientHello. The first one decides against every
/// text protocol.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE)
}

/// Whether the bytes begin with the headers of a record and of a ClientHello.
pub(super) fn is_hello(bytes: &[u8]) -> bool {
    bytes.len() > RECORD_HEADER
        && record_length(bytes).is_ok()
        && bytes[RECORD_HEADER] == CLIENT_HELLO
}

pub(super) fn inspect(bytes: &[u8]) -> Verdict {
    match hello(bytes) {
        Ok(sniffed) => Verdict::Found(sniffed),
        Err(Stop::Short) => Verdict::NeedMore,
        Err(Stop::Bad) => Verdict::Opaque,
    }
}

/// Why there is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It goes on in bytes that are not here.
    Short,
    /// It is none.
    Bad,
}

fn hello(bytes: &[u8]) -> Result<Sniffed, Stop> {
    let message = message(bytes)?;
    // Inside a whole message, a field that does not fit is malformed, not short.
    parse(&message).ok_or(Stop::Bad)
}

/// The body of the first handshake message, which may be cut over several records.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut message = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let length = record_length(rest)?;
        let here = &rest[RECORD_HEADER..rest.len().min(RECORD_HEADER + length)];
        message.extend_from_slice(here);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Stop::Bad);
        }
        if let [_, a, b, c, body @ ..] = message.as_slice() {
            let whole = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if body.len() >= whole {
                message.truncate(MESSAGE_HEADER + whole);
                message.drain(..MESSAGE_HEADER);
                return Ok(message);
            }
        }
        if here.len() < length {
            return Err(Stop::Short);
        }
        rest = &rest[RECORD_HEADER + length..];
    }
}

/// The length in the record header at the start of `bytes`. Each byte of it is checked as soon as
/// it is here, so that the verdict falls at the same byte however the stream is cut.
fn record_length(bytes: &[u8]) -> Result<usize, Stop> {
    let expect = |at: usize, fits: fn(u8) -> bool| match bytes.get(at) {
        None => Err(Stop::Short),
        Some(byte) if fits(*byte) => Ok(usize::from(*byte)),
        Some(_) => Err(Stop::Bad),
    };
    expect(0, |kind| kind == HANDSHAKE)?;
    expect(1, |major| major == 3)?;
    expect(2, |minor| minor <= 4)?;
    let length = expect(3, |_| true)? << 8 | expect(4, |_| true)?;
    if (1..=LONGEST_RECORD).contains(&length) {
        Ok(length)
    } else {
        Err(Stop::Bad)
    }
}

/// What the body of a ClientHello says.
pub(super) fn parse(message: &[u8]) -> Option<Sniffed> {
    let mut rest = Fields(message);
    rest.take(2 + 32)?; // version, random
    rest.vector8()?; // session
    rest.vector16()?; // cipher suites
    rest.vector8()?; // compression
    let mut sniffed = Sniffed::only(App::Tls);
    if rest.0.is_empty() {
        return Some(sniffed); // TLS 1.0 to 1.2 without extensions
    }
    let mut extensions = rest.vector16()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut body = extensions.vector16()?;
        match kind {
            SERVER_NAME => sniffed.host = server_name(body.vector16()?)?,
            ALPN => sniffed.alpn = protocols(body.vector16()?)?,
            _ => {}
        }
    }
    Some(sniffed)
}

fn server_name(mut list: Fields<'_>) -> Option<Option<HostName>> {
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let name = list.vector16()?;
        if kind == [0] {
            return Some(str::from_utf8(name.0).ok().and_then(claimed));
        }
    }
    Some(None)
}

fn protocols(mut list: Fields<'_>) -> Option<Vec<String>> {
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(String::from_utf8_lossy(list.vector8()?.0).into_owned());
    }
    Some(protocols)
}

/// Fields yet to be read; none where the next one does not fit.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)? else {
            return None;
        };
        Some(u16::from_be_bytes([high, low]))
    }

    fn vector8(&mut self) -> Option<Fields<'a>> {
        let [length] = *self.take(1)? else {
            return None;
        };
        self.take(length.into()).map(Fields)
    }

    fn vector16(&mut self) -> Option<Fields<'a>> {
        let length = self.number()?;
        self.take(length.into()).map(Fields)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What rustls sends first to `name`.
    pub(in crate::sniff) fn hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake bytes in records of at most `size` bytes.
    pub(in crate::sniff) fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let body = &hello[RECORD_HEADER..];
        body.chunks(size)
            .flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&[HANDSHAKE, 3, 1], &length[..], piece].concat()
            })
            .collect()
    }

    fn found(host: Option<&str>, alpn: &[&str]) -> Verdict {
        Verdict::Found(Sniffed {
            app: App::Tls,
            host: host.map(|name| HostName::new(name).unwrap()),
            alpn: alpn.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn a_real_hello_tells_its_name_and_protocols() {
        let hello = hello("WWW.Example.com", &[b"h2", b"http/1.1"]);
        assert_eq!(
            inspect(&hello),
            found(Some("www.example.com"), &["h2", "http/1.1"])
        );
    }

    #[test]
    fn a_hello_to_an_address_has_no_name() {
        assert_eq!(inspect(&hello("192.0.2.1", &[])), found(None, &[]));
    }

    #[test]
    fn a_hello_in_many_records_is_read_whole() {
        for size in [1, 2, 3, 5, 64, 1000] {
            let hello = fragmented(&hello("split.example", &[]), size);
            assert_eq!(
                inspect(&hello),
                found(Some("split.example"), &[]),
                "records of {size}"
            );
        }
    }

    #[test]
    fn every_beginning_of_a_hello_is_undecided() {
        let hello = hello("prefix.example", &[]);
        for end in 1..hello.len() {
            assert_eq!(inspect(&hello[..end]), Verdict::NeedMore, "{end} bytes");
        }
    }

    #[test]
    fn a_hello_followed_by_early_data_is_found() {
        let mut bytes = hello("early.example", &[]);
        bytes.extend_from_slice(b"\x17\x03\x03\0\x01x");
        assert_eq!(inspect(&bytes), found(Some("early.example"), &[]));
    }

    #[test]
    fn records_that_are_no_hello_are_opaque() {
        for bytes in [
            &b"\x16\x02"[..],
            b"\x16\x03\x05",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x03\0\x04\x02\0\0\0",
            b"\x16\x03\x01\0\x04\x01\0\0\0",
        ] {
            assert_eq!(inspect(bytes), Verdict::Opaque, "{bytes:?}");
        }
    }
}
