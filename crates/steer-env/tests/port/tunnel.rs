use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{engine, origin};

/// Sends everything at once, so that the tunnel's first bytes come with the request, and reads
/// to the end.
async fn at_once(proxy: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn bytes_that_come_with_the_request_are_the_tunnels_first() {
    let (engine, echo) = (engine::explicit(), origin::echo().await);
    let early = "e".repeat(50_000);
    let connect = format!(
        "CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n{early}",
        echo.named()
    );
    assert_eq!(
        String::from_utf8(at_once(engine.address(), connect.as_bytes()).await).unwrap(),
        format!("HTTP/1.1 200 Connection established\r\n\r\n{early}")
    );
    let mut socks = b"\x05\x01\x00\x05\x01\x00\x01\x7f\0\0\x01".to_vec();
    socks.extend(echo.address.port().to_be_bytes());
    socks.extend(early.bytes());
    let mut expected = b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0".to_vec();
    expected.extend(early.bytes());
    assert_eq!(at_once(engine.address(), &socks).await, expected);
}

#[tokio::test]
async fn a_request_behind_the_first_one_reaches_no_origin() {
    let (engine, origin) = (engine::explicit(), origin::mirror().await);
    let one = format!(
        "GET http://{}/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.named()
    );
    let two = one.replace("/1 ", "/2 ");
    let answer = at_once(engine.address(), format!("{one}{two}").as_bytes()).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("GET /1 "), "{answer}");
    assert!(!answer.contains("/2 "), "{answer}");
    assert_eq!(engine.asked().len(), 1);
}

#[tokio::test]
async fn silent_clients_keep_nobody_waiting() {
    let (engine, echo) = (engine::explicit(), origin::echo().await);
    let mut silent = Vec::new();
    for first in [&b""[..], b"\x05", b"CONNECT "].repeat(20) {
        let mut client = TcpStream::connect(engine.address()).await.unwrap();
        client.write_all(first).await.unwrap();
        silent.push(client);
    }
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let connect = format!("CONNECT {} HTTP/1.1\r\n\r\nhello", echo.named());
        let proxy = engine.address();
        clients.spawn(async move { at_once(proxy, connect.as_bytes()).await });
    }
    while let Some(answer) = clients.join_next().await {
        assert!(answer.unwrap().ends_with(b"\r\n\r\nhello"));
    }
}
