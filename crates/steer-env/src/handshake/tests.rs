use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// A client that sends some bytes at once and then one a second until the port ends it; how long
/// that took, and what the client was told.
///
/// The clock is the test's, and the port's end of the connection is what it is read at: how fast
/// the host is does not matter.
async fn trickle(
    at_once: &[u8],
    bytes: &[u8],
    senders: &[&str],
) -> (Duration, Vec<u8>, Option<io::ErrorKind>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    let (mut client, (stream, from)) = (client.unwrap(), accepted.unwrap());
    client.write_all(at_once).await.unwrap();
    if !at_once.is_empty() {
        stream.peek(&mut [0]).await.unwrap();
    }
    let mut left = bytes.iter();
    let accepted = Accepted {
        stream,
        client: ClientAddr(from),
        local,
    };
    let service = Service {
        via: Method::Explicit,
        senders: senders.iter().map(|net| net.parse().unwrap()).collect(),
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
async fn a_slow_handshake_ends_at_its_deadline_at_every_stage() {
    // The client may take a while to read why.
    let deadline = DEADLINE..=DEADLINE + Duration::from_secs(2);
    let field = b"X: and so on, and so on";
    for at_once in [
        &b"G"[..],
        b"GET http://origin.test/",
        b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n",
        b"\r\nGET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r",
    ] {
        let bytes: &[u8] = match at_once {
            [b'G'] => b"ETGETGETGETGETGETGET",
            [.., b'\r'] => b"",
            _ => field,
        };
        let (took, told, _) = trickle(at_once, bytes, &[]).await;
        assert!(deadline.contains(&took), "{took:?}");
        assert!(
            told.starts_with(b"HTTP/1.1 408 "),
            "{}",
            told.escape_ascii()
        );
    }

    let everybody = ["0.0.0.0/0"];
    for (at_once, bytes, senders, said) in [
        // Nothing, a greeting, a login, a request, and a name; an id of a user and a name.
        (&b""[..], &b""[..], &[][..], &b""[..]),
        (b"\x05\xff", &[0; 30], &[], b""),
        (b"\x05\x01\x02\x01\xff", &[b'a'; 30], &[], b"\x05\x02"),
        (b"\x05\x01\x00\x05\x01", b"\x00", &[], b"\x05\x00"),
        (
            b"\x05\x01\x00\x05\x01\x00\x03\xff",
            &[b'a'; 30],
            &[],
            b"\x05\x00",
        ),
        (b"\x04\x01\x00\x50\x7f\0\0\x01", &[b'a'; 30], &[], b""),
        (b"\x04\x01\x00\x50\0\0\0\x01\0", &[b'a'; 30], &[], b""),
        // What says whose connection it is, in both versions.
        (b"", b"", &everybody, b""),
        (b"PROXY UNKNOWN", &[b'a'; 30], &everybody, b""),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01\0",
            &[0; 30],
            &everybody,
            b"",
        ),
    ] {
        let (took, told, end) = trickle(at_once, bytes, senders).await;
        let shown = at_once.escape_ascii();
        assert!(deadline.contains(&took), "{shown}: {took:?}");
        assert_eq!(told, said, "{shown}");
        assert_eq!(end, Some(io::ErrorKind::ConnectionReset), "{shown}");
    }
}
