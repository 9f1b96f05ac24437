use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{engine, origin};

/// What a client reads up to the end of the stream, which must not be a reset.
async fn told(proxy: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn a_destination_that_is_not_reached_is_told_in_the_clients_protocol() {
    let engine = engine::explicit();
    let closed = origin::nobody().await.port();
    for (host, port, status, code) in [
        ("origin.test", closed, "502 Bad Gateway", 5),
        ("nowhere.test", 80, "502 Bad Gateway", 4),
        ("slow.test", 80, "504 Gateway Timeout", 4),
        ("denied.test", 80, "403 Forbidden", 2),
        ("busy.test", 80, "503 Service Unavailable", 1),
    ] {
        let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\nearly");
        // The body is unread when the answer is given: it must not turn the end into a reset.
        let absolute = format!(
            "POST http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{}",
            "b".repeat(100_000)
        );
        for request in [connect, absolute] {
            let answer = told(engine.address(), request.as_bytes()).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
            assert!(
                answer.contains("\r\nProxy-Status: steer; error="),
                "{answer}"
            );
            let line = answer.split("\r\n\r\n").nth(1).unwrap();
            assert!(
                line.starts_with(&format!("steer: {host}:{port} ")),
                "{answer}"
            );
        }
        let mut socks = b"\x05\x01\x00\x05\x01\x00\x03".to_vec();
        socks.push(u8::try_from(host.len()).unwrap());
        socks.extend(host.bytes());
        socks.extend(port.to_be_bytes());
        socks.extend(b"early");
        let answer = told(engine.address(), &socks).await;
        assert_eq!(answer, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{host}");
        let [high, low] = port.to_be_bytes();
        let socks4 = [
            b"\x04\x01",
            &[high, low][..],
            b"\0\0\0\x01me\0",
            host.as_bytes(),
        ]
        .concat();
        let answer = told(engine.address(), &[&socks4[..], b"\0early"].concat()).await;
        assert_eq!(answer, [0, 0x5b, 0, 0, 0, 0, 0, 0], "{host}");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_send_on_and_read_why_not() {
    let engine = engine::explicit();
    let head = "POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n";
    for request in [
        head,
        "CONNECT denied.test:443 HTTP/1.1\r\n\r\n",
        "garbage\r\n",
    ] {
        let mut client = TcpStream::connect(engine.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client.write_all(&[b'b'; 10_000]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
        for _ in 0..10 {
            client.write_all(&[b'b'; 1000]).await.unwrap();
            // A reset would answer the bytes above before it answers these.
            tokio::task::yield_now().await;
        }
    }
}
