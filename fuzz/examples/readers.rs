//! Writes the inputs that fuzzing of the readers begins with:
//! `cargo run --example readers -- corpus`.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use steer_core::address::Protocol;
use steer_core::proxy_protocol::{Header, Tlv, Version};

fn main() -> std::io::Result<()> {
    let to = std::env::args().nth(1).expect("a directory to write to");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new(&to).join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for (name, text) in HEADS {
        write("http1", name, &cut(text.as_bytes()))?;
        write("hello", name, &cut(text.as_bytes()))?;
    }
    for (name, text) in ASKED {
        write("absolute", name, &cut(text.as_bytes()))?;
    }
    for (name, bytes) in SOCKS {
        write("socks", name, &cut(bytes))?;
    }
    for (name, bytes) in headers() {
        write("proxy_protocol", &name, &cut(&bytes))?;
    }
    let hello = hello();
    write("hello", "tls", &cut(&hello))?;
    write("hello", "tls-in-records", &cut(&in_records(&hello)))?;
    for (name, text) in [
        (
            "v1",
            include_str!("../../crates/steer-proxy/src/sniff/quic/hellos/v1.hex"),
        ),
        (
            "v1-split",
            include_str!("../../crates/steer-proxy/src/sniff/quic/hellos/v1-split.hex"),
        ),
        (
            "v2",
            include_str!("../../crates/steer-proxy/src/sniff/quic/hellos/v2.hex"),
        ),
        (
            "v2-split",
            include_str!("../../crates/steer-proxy/src/sniff/quic/hellos/v2-split.hex"),
        ),
    ] {
        let datagrams = text.lines().flat_map(|line| record(0, &bytes_of(line)));
        write("quic", name, &datagrams.collect::<Vec<_>>())?;
    }
    // The message alone, without the header of its record, in CRYPTO frames of ours.
    let (front, back) = hello[5..].split_at(100);
    let frames = [crypto(100, back), crypto(0, front)];
    for (name, how) in [("sealed", 1), ("sealed-v2", 3), ("spoilt", 5)] {
        let datagrams = frames.iter().flat_map(|frame| record(how, frame));
        write("quic", name, &datagrams.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// With three cuts in front.
fn cut(bytes: &[u8]) -> Vec<u8> {
    [&[3, 1, 9, 30], bytes].concat()
}

fn headers() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("unknown".to_owned(), b"PROXY UNKNOWN a b c\r\nGET".to_vec()),
        (
            "local".to_owned(),
            Header::local().encode(Version::V2).expect("short"),
        ),
    ];
    for (name, client) in [("v4", "203.0.113.7:4711"), ("v6", "[2001:db8::7]:4711")] {
        let client = client.parse().expect("an address");
        let mut header = Header::proxied(Protocol::Tcp, client, client);
        header.tlvs.push(Tlv::authority("api.example.com"));
        header.tlvs.push(Tlv::unique_id(b"id"));
        for (version, word) in [(Version::V1, "text"), (Version::V2, "binary")] {
            let bytes = header.encode(version).expect("short");
            all.push((format!("{word}-{name}"), bytes));
        }
    }
    all
}

/// A ClientHello in a record, as rustls writes it.
fn hello() -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = "api.example.com".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    bytes
}

/// The same message in records of 50 bytes.
fn in_records(hello: &[u8]) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let length = u8::try_from(piece.len()).expect("50 at most");
        [&[22, 3, 1, 0, length], piece].concat()
    };
    hello[5..].chunks(50).flat_map(record).collect()
}

fn record(how: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a datagram");
    [&[how], &length.to_be_bytes()[..], bytes].concat()
}

/// A CRYPTO frame (RFC 9000, section 19.6) with numbers of two bytes.
fn crypto(at: u16, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a datagram");
    let number = |number: u16| (0x4000 | number).to_be_bytes();
    [&[6], &number(at)[..], &number(length), bytes].concat()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len() / 2).map(|index| byte(index * 2)).collect()
}

const HEADS: [(&str, &str); 9] = [
    (
        "get",
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    ),
    (
        "post",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345GET / HTTP/1.0\r\n\r\n",
    ),
    (
        "chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "both-lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("folded", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    (
        "expect",
        "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "connect",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    ),
    (
        "upgrade",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    ("response", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
];

const ASKED: [(&str, &str); 6] = [
    (
        "connect",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nbytes",
    ),
    (
        "login",
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnB3\r\n\r\n",
    ),
    (
        "get",
        "GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nConnection: a, b\r\na: 1\r\n\r\n",
    ),
    (
        "post",
        "POST http://a.example:8080/ HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabcGET",
    ),
    (
        "chunked",
        "POST http://[::1]/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\nGET",
    ),
    ("old", "GET HTTP://a.example HTTP/1.0\r\n\r\n"),
];

const SOCKS: [(&str, &[u8]); 8] = [
    ("4", b"\x04\x01\x01\xbb\xcb\x00\x71\x07ann\0tail"),
    ("4a", b"\x04\x01\x00\x50\0\0\0\x01ann\0example.com\0tail"),
    ("4-bind", b"\x04\x02\x00\x50\xcb\x00\x71\x07\0"),
    (
        "5",
        b"\x05\x01\x00\x05\x01\x00\x01\xcb\x00\x71\x07\x01\xbbtail",
    ),
    (
        "5-name",
        b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50tail",
    ),
    (
        "5-v6",
        b"\x05\x01\x00\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
    ),
    (
        "5-login",
        b"\x05\x02\x00\x02\x01\x03ann\x02pw\x05\x01\x00\x01\x7f\0\0\x01\x00\x50",
    ),
    ("5-udp", b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0\x01\xbb"),
];
