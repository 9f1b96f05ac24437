use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// A client that sends one byte a second until the port ends it; how long that took, and what the
/// client was told.
///
/// The clock is the test's, and the port's end of the connection is what it is read at: how fast
/// the host is does not matter.
async fn trickle(bytes: &[u8]) -> (Duration, Vec<u8>, Option<io::ErrorKind>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    let (mut client, (stream, from)) = (client.unwrap(), accepted.unwrap());
    let mut left = bytes.iter();
    if let Some(byte) = left.next() {
        client.write_all(&[*byte]).await.unwrap();
        stream.peek(&mut [0]).await.unwrap();
    }
    let accepted = Accepted {
        stream,
        client: ClientAddr(from),
        local,
    };
    let service = Service {
        via: Method::Explicit,
        senders: Vec::new(),
        serves: Serves::Clients {
            login: None,
            associations: None,
        },
    };
    let start = Instant::now();
    let mut greeted = std::pin::pin!(greet(
        accepted,
        Identity::default(),
        Guest::Admitted,
        &service
    ));
    loop {
        tokio::select! {
            biased;
            greeted = &mut greeted => break assert!(greeted.is_none()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Some(byte) = left.next() {
                    client.write_all(&[*byte]).await.ok();
                }
            }
        }
    }
    let took = start.elapsed();
    let mut told = Vec::new();
    let end = client.read_to_end(&mut told).await;
    (took, told, end.err().map(|error| error.kind()))
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends_at_its_deadline_however_regularly_bytes_come() {
    // The client may take a while to read why.
    let deadline = DEADLINE..=DEADLINE + Duration::from_secs(2);
    let head = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n";
    let (took, told, _) = trickle(head).await;
    assert!(deadline.contains(&took), "{took:?}");
    assert!(
        told.starts_with(b"HTTP/1.1 408 "),
        "{}",
        told.escape_ascii()
    );

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
