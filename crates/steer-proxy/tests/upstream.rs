//! The codecs against servers that others wrote, and against answers that are wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fast_socks5::ReplyError;
use fast_socks5::server::Socks5ServerProtocol;
use steer_core::address::Destination;
use steer_core::steered::Refusal;
use steer_proxy::error::UpstreamError;
use steer_proxy::upstream::socks5::Reply;
use steer_proxy::upstream::{Login, connect, socks5};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn login() -> Login {
    Login {
        username: "us:er".to_owned(),
        password: "pä:ss".to_owned(),
    }
}

fn target(text: &str) -> Destination {
    text.parse().unwrap()
}

#[tokio::test]
async fn socks5_asks_for_names_and_addresses_and_keeps_what_follows() {
    for to in ["name.example:443", "192.0.2.1:80", "[2001:db8::1]:65535"] {
        for bound in ["192.0.2.9:1", "[2001:db8::9]:1"] {
            let (mut ours, theirs) = duplex(64);
            let server = tokio::spawn(async move {
                let proxy = Socks5ServerProtocol::accept_no_auth(theirs).await.unwrap();
                let (proxy, _, asked) = proxy.read_command().await.unwrap();
                let mut tunnel = proxy.reply_success(bound.parse().unwrap()).await.unwrap();
                tunnel.write_all(b"banner").await.unwrap();
                asked.to_string()
            });
            let mut first = socks5::connect(&mut ours, &target(to), None).await.unwrap();
            ours.read_to_end(&mut first).await.unwrap();
            assert_eq!(first, b"banner");
            assert_eq!(server.await.unwrap(), to);
        }
    }
}

#[tokio::test]
async fn socks5_logs_in_where_asked_to() {
    for accept in [true, false] {
        let (mut ours, theirs) = duplex(64);
        let server = tokio::spawn(async move {
            let check = |user: String, password: String| {
                assert_eq!(
                    Login {
                        username: user,
                        password
                    },
                    login()
                );
                accept
            };
            let (proxy, _) = Socks5ServerProtocol::accept_password_auth(theirs, check)
                .await
                .ok()?;
            let (proxy, _, _) = proxy.read_command().await.unwrap();
            proxy.reply_success("0.0.0.0:0".parse().unwrap()).await.ok()
        });
        let result = socks5::connect(&mut ours, &target("a.example:1"), Some(&login())).await;
        match result {
            Ok(rest) => assert!(accept && rest.is_empty()),
            Err(error) => {
                assert!(!accept && matches!(error, UpstreamError::Credentials { given: true }))
            }
        }
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_socks5_proxy_that_wants_a_login_is_told_from_one_that_refuses_it() {
    let (mut ours, theirs) = duplex(64);
    tokio::spawn(async move {
        Socks5ServerProtocol::accept_password_auth(theirs, |_, _| true)
            .await
            .err()
    });
    let error = socks5::connect(&mut ours, &target("a.example:1"), None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, UpstreamError::Credentials { given: false }),
        "{error}"
    );
}

#[tokio::test]
async fn each_socks5_refusal_has_its_meaning() {
    for (said, reply, refusal) in [
        (
            ReplyError::GeneralFailure,
            Reply::Failure,
            Refusal::Upstream,
        ),
        (
            ReplyError::ConnectionNotAllowed,
            Reply::NotAllowed,
            Refusal::Upstream,
        ),
        (
            ReplyError::NetworkUnreachable,
            Reply::NetworkUnreachable,
            Refusal::NetworkUnreachable,
        ),
        (
            ReplyError::HostUnreachable,
            Reply::HostUnreachable,
            Refusal::HostUnreachable,
        ),
        (
            ReplyError::ConnectionRefused,
            Reply::Refused,
            Refusal::Refused,
        ),
        (ReplyError::TtlExpired, Reply::TtlExpired, Refusal::TimedOut),
        (
            ReplyError::CommandNotSupported,
            Reply::CommandNotSupported,
            Refusal::Upstream,
        ),
        (
            ReplyError::AddressTypeNotSupported,
            Reply::AddressNotSupported,
            Refusal::Upstream,
        ),
    ] {
        let (mut ours, theirs) = duplex(64);
        tokio::spawn(async move {
            let proxy = Socks5ServerProtocol::accept_no_auth(theirs).await.unwrap();
            let (proxy, _, _) = proxy.read_command().await.unwrap();
            proxy.reply_error(&said).await.unwrap();
        });
        let error = socks5::connect(&mut ours, &target("a.example:1"), None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, UpstreamError::Socks5(got) if got == reply),
            "{error}"
        );
        assert_eq!(error.refusal(), refusal);
    }
}

/// A server that says `answer` in pieces of `cut` bytes, whatever it is asked, and ends.
fn scripted(answer: &'static [u8], cut: usize) -> DuplexStream {
    let (ours, mut theirs) = duplex(1 << 16);
    tokio::spawn(async move {
        for piece in answer.chunks(cut) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
        theirs.read_to_end(&mut Vec::new()).await.unwrap();
    });
    ours
}

#[tokio::test]
async fn what_is_no_socks5_is_an_error_however_it_is_cut() {
    for cut in [1, 2, 100] {
        for (answer, broken) in [
            (&b""[..], true),
            (b"\x05", true),
            (b"\x04\x00", false),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
            (b"\x05\x02", false),
            (b"\x05\x07", false),
            (b"\x05\x00\x04\x00\x00\x01", false),
            (b"\x05\x00\x05\x00\x00\x09", false),
            (b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00", true),
            (b"\x05\x00\x05\x00\x00\x03\xff", true),
        ] {
            let error = socks5::connect(&mut scripted(answer, cut), &target("a.example:1"), None)
                .await
                .unwrap_err();
            let as_told = match error {
                UpstreamError::Broken(_) => broken,
                UpstreamError::Protocol { .. } => !broken,
                _ => false,
            };
            assert!(as_told, "{error} for {answer:?}");
        }
    }
}

async fn connected(answer: &'static [u8], cut: usize) -> Result<Vec<u8>, UpstreamError> {
    let mut stream = scripted(answer, cut);
    let mut first = connect::connect(&mut stream, &target("a.example:443"), None).await?;
    stream.read_to_end(&mut first).await.unwrap();
    Ok(first)
}

#[tokio::test]
async fn the_bytes_behind_a_connect_answer_belong_to_the_tunnel() {
    for cut in [1, 7, 1000] {
        for answer in [
            &b"HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0"[..],
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nSSH-2.0",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\nVia: x\r\n\r\nSSH-2.0",
        ] {
            assert_eq!(connected(answer, cut).await.unwrap(), b"SSH-2.0");
        }
    }
}

#[tokio::test]
async fn a_connect_that_is_refused_tells_the_status() {
    for cut in [1, 1000] {
        let denied = connected(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
            cut,
        )
        .await
        .unwrap_err();
        assert!(
            matches!(denied, UpstreamError::Status(403)) && denied.refusal() == Refusal::Upstream
        );
        let late = connected(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", cut)
            .await
            .unwrap_err();
        assert_eq!(late.refusal(), Refusal::TimedOut);
        let login = connected(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", cut)
            .await
            .unwrap_err();
        assert!(matches!(login, UpstreamError::Credentials { given: false }));
        let none = connected(b"SSH-2.0-OpenSSH\r\n", cut).await.unwrap_err();
        assert!(matches!(none, UpstreamError::Protocol { .. }));
        let short = connected(b"HTTP/1.1 200 OK\r\n", cut).await.unwrap_err();
        assert!(matches!(short, UpstreamError::Broken(_)));
    }
}

#[tokio::test]
async fn an_answer_whose_head_never_ends_is_given_up() {
    let (mut ours, mut theirs) = duplex(1 << 12);
    tokio::spawn(async move {
        theirs.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while theirs
            .write_all(b"x-filler: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n")
            .await
            .is_ok()
        {}
    });
    let error = connect::connect(&mut ours, &target("a.example:1"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol { .. }));
}

#[tokio::test]
async fn a_connect_request_names_the_target_and_carries_the_login() {
    let (mut ours, mut theirs) = duplex(1 << 12);
    let client = tokio::spawn(async move {
        connect::connect(&mut ours, &target("[2001:db8::1]:22"), Some(&login())).await
    });
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        theirs.read_buf(&mut request).await.unwrap();
    }
    assert_eq!(
        String::from_utf8(request).unwrap(),
        "CONNECT [2001:db8::1]:22 HTTP/1.1\r\nHost: [2001:db8::1]:22\r\n\
         Proxy-Authorization: Basic dXM6ZXI6cMOkOnNz\r\n\r\n"
    );
    theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert_eq!(client.await.unwrap().unwrap(), b"");
}
