//! Requests that two readers could read in two ways, and names and heads that are too much: each is
//! refused with its status and asks for nothing.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{self, Engine};

/// The first bytes of what a client of its own is told.
async fn told(engine: &Engine, request: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(engine.address()).await.unwrap();
    client.write_all(request).await.unwrap();
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();
    told
}

async fn refused(engine: &Engine, status: &str, requests: &[Vec<u8>]) {
    for request in requests {
        let told = told(engine, request).await;
        let shown = request[..request.len().min(100)].escape_ascii();
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(
            told.starts_with(wanted.as_bytes()),
            "{shown}: {}",
            told.escape_ascii()
        );
    }
    assert_eq!(engine.asked(), [""; 0]);
}

#[tokio::test]
async fn what_two_readers_could_read_in_two_ways_is_refused() {
    let engine = engine::explicit();
    let with = |fields: &str| {
        let head = format!("POST http://h/ HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n0\r\n\r\nGET");
        head.into_bytes()
    };
    let ambiguous = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -1",
        "Content-Length: 0x3",
        "Content-Length: 99999999999999999999",
        "Content-Length:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Content-Length : 3",
        "Transfer-Encoding : chunked",
        "X: a\r\n Content-Length: 3",
        "X: a\r\n\tb",
        " X: a",
        "Content-Length: 3\rX: a",
        "Content-Length: 3\nX: a",
        "X: a\r\r",
        "X: a\0b",
        "no colon",
        ": no name",
        "X(: a",
        "Connection: content-length\r\nContent-Length: 3",
        "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
        "Host: other",
    ]
    .map(with);
    refused(&engine, "400", &ambiguous).await;
    let unknown = [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
    ]
    .map(with);
    refused(&engine, "501", &unknown).await;
    let heads = [
        "POST http://h/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET http://h/ HTTP/1.1\r\n\r\n",
        "GET  http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/ a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/ HTTP/1.2\r\nHost: h\r\n\r\n",
        "GET http://h/ HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET http://h@other/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h\\@other/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http:///path HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /path HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "CONNECT h:80 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .map(|head| head.as_bytes().to_vec());
    refused(&engine, "400", &heads).await;
}

#[tokio::test]
async fn names_that_are_none_are_refused_in_each_protocol() {
    let engine = engine::explicit();
    let long = "a".repeat(300);
    let label = format!("{}.test", "a".repeat(64));
    let hosts: [&[u8]; 7] = [
        long.as_bytes(),
        label.as_bytes(),
        b"\xff\xfe.test",
        "ü.test".as_bytes(),
        b"a..test",
        b"a%2e.test",
        b"a_b!.test",
    ];
    for host in hosts {
        let connect = [b"CONNECT ", host, b":80 HTTP/1.1\r\n\r\n"].concat();
        let get = [b"GET http://", host, b"/ HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        refused(&engine, "400", &[connect, get]).await;
        let socks4 = [b"\x04\x01\0\x50\0\0\0\x01\0", host, b"\0"].concat();
        assert_eq!(told(&engine, &socks4).await[..2], [0, 0x5b], "{host:?}");
        if let Ok(length) = u8::try_from(host.len()) {
            let socks5 = [b"\x05\x01\0\x05\x01\0\x03", &[length][..], host, b"\0\x50"].concat();
            assert_eq!(told(&engine, &socks5).await[..4], [5, 0, 5, 1], "{host:?}");
        }
    }
    assert_eq!(engine.asked(), [""; 0]);
}

#[tokio::test]
async fn a_flood_of_fields_is_refused_however_it_is_spread() {
    let engine = engine::explicit();
    let head = "GET http://h/ HTTP/1.1\r\nHost: h\r\n";
    let floods = [
        [head, &"a:\r\n".repeat(200), "\r\n"].concat(),
        // Endless: the rest never comes.
        [head, &format!("a: {}\r\n", "b".repeat(1000)).repeat(70)].concat(),
        [head, &"b".repeat(70_000)].concat(),
        format!("GET http://h/{} HTTP/1.1\r\n", "b".repeat(70_000)),
    ]
    .map(String::into_bytes);
    refused(&engine, "431", &floods).await;
    let method = vec![b'A'; 70_000];
    refused(&engine, "400", &[method]).await;
}
