use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::engine;

/// A client that sends one byte a second, over and over, until the port ends it; how long that
/// took, and what it was told.
async fn trickle(bytes: &[u8]) -> (Duration, Vec<u8>, Option<io::ErrorKind>) {
    let engine = engine::explicit();
    let start = Instant::now();
    let mut client = TcpStream::connect(engine.address()).await.unwrap();
    let mut told = Vec::new();
    let mut left = bytes.iter();
    let end = loop {
        tokio::select! {
            read = client.read_buf(&mut told) => match read {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.kind()),
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Some(byte) = left.next() {
                    client.write_all(&[*byte]).await.ok();
                }
            }
        }
    };
    (start.elapsed(), told, end)
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends_at_its_deadline_however_regularly_bytes_come() {
    let deadline = Duration::from_secs(10)..Duration::from_secs(12);
    let head = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n";
    let (took, told, end) = trickle(head).await;
    assert!(deadline.contains(&took), "{took:?}");
    assert!(
        told.starts_with(b"HTTP/1.1 408 "),
        "{}",
        told.escape_ascii()
    );
    assert_eq!(end, None);

    for bytes in [
        &b""[..],
        b"\x05\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let (took, told, end) = trickle(bytes).await;
        assert!(deadline.contains(&took), "{took:?}");
        assert_eq!(told, b"");
        assert_eq!(end, Some(io::ErrorKind::ConnectionReset));
    }
}
