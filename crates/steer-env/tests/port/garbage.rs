use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{engine, origin};

enum Told {
    Status(&'static str),
    Bytes(&'static [u8]),
    Reset,
}

#[tokio::test]
async fn garbage_gets_the_fitting_error_and_the_port_goes_on() {
    use Told::{Bytes, Reset, Status};
    let (engine, echo) = (engine::explicit(), origin::echo().await);
    let long = format!("GET http://h/ HTTP/1.1\r\nX: {}", "x".repeat(70_000));
    for (bytes, told) in [
        (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], Status("400 ")),
        (b"GET / HTTP/1.1\n\n", Status("400 ")),
        (b"hello\r\n", Status("400 ")),
        (b"{\"json\": 1}", Status("400 ")),
        (b"\r\n\r\n\r\n", Status("400 ")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Status("400 ")),
        (b"CONNECT h HTTP/1.1\r\n\r\n", Status("400 ")),
        (b"CONNECT h:99999 HTTP/1.1\r\n\r\n", Status("400 ")),
        (
            b"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\
              Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
            Status("400 "),
        ),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", Status("501 ")),
        (long.as_bytes(), Status("431 ")),
        (
            b"\x04\x02\x00\x50\x7f\x00\x00\x01me\x00",
            Bytes(&[0, 0x5b, 0, 0, 0, 0, 0, 0]),
        ),
        (
            b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\xff\xfe\x00",
            Bytes(&[0, 0x5b, 0, 0, 0, 0, 0, 0]),
        ),
        (b"\x04\x01\x00\x50\x7f", Reset),
        (b"\x05\x01\x01", Bytes(&[5, 0xff])),
        (b"\x05\x00", Bytes(&[5, 0xff])),
        (
            b"\x05\x01\x00\x05\x02\x00\x01\x7f\0\0\x01\x00\x50",
            Bytes(&[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
        ),
        (
            b"\x05\x01\x00\x05\x01\x00\x09rest",
            Bytes(&[5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
        ),
        (b"\x05\x01\x00\x04\x01\x00\x01", Reset),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Reset),
        (b"\x00\x00\x00\x00", Reset),
        (b"\xff\xff\xff\xff", Reset),
    ] {
        let shown = bytes[..bytes.len().min(60)].escape_ascii();
        let (all, end) = exchange(engine.address(), bytes).await;
        match told {
            Status(status) => {
                end.unwrap();
                let text = String::from_utf8(all).unwrap();
                assert!(
                    text.starts_with(&format!("HTTP/1.1 {status}")),
                    "{shown}: {text}"
                );
                assert!(text.contains("\r\n\r\nsteer: "), "{shown}: {text}");
            }
            Bytes(expected) => {
                end.unwrap();
                assert_eq!(all, expected, "{shown}");
            }
            Reset => {
                let error = end.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{shown}");
            }
        }
    }
    assert_eq!(engine.asked(), [""; 0]);
    let request = format!("CONNECT {} HTTP/1.1\r\n\r\n", echo.named());
    let mut client = TcpStream::connect(engine.address()).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// What a client reads until the stream ends in order or not.
async fn exchange(proxy: std::net::SocketAddr, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let end = client.read_to_end(&mut all).await;
    (all, end.map(|_| ()))
}
