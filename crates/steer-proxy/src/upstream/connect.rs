//! The client side of HTTP CONNECT (RFC 9110, section 9.3.6).
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Response, Status};
use steer_core::address::Destination;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Login;
use crate::error::UpstreamError;

/// Asks the proxy at the other end of `stream` for a tunnel to `target`.
///
/// Returns the bytes that came behind the head of its answer: they are the destination's first
/// ones, whatever Content-Length says (RFC 9110, section 9.3.6).
pub async fn connect<S>(
    stream: &mut S,
    target: &Destination,
    login: Option<&Login>,
) -> Result<Vec<u8>, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream
        .write_all(request(target, login).as_bytes())
        .await
        .map_err(UpstreamError::Broken)?;
    stream.flush().await.map_err(UpstreamError::Broken)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        let read = stream
            .read_buf(&mut head)
            .await
            .map_err(UpstreamError::Broken)?;
        while let Some((status, length)) = parse(&head)? {
            match status {
                // Interim answers precede the real one.
                100..=199 => drop(head.drain(..length)),
                200..=299 => {
                    head.drain(..length);
                    return Ok(head);
                }
                407 => {
                    return Err(UpstreamError::Credentials {
                        given: login.is_some(),
                    });
                }
                status => return Err(UpstreamError::Status(status)),
            }
        }
        if read == 0 {
            return Err(UpstreamError::Broken(
                std::io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        if head.len() > LONGEST_HEAD {
            return Err(wrong("the head of its answer does not end"));
        }
    }
}

fn request(target: &Destination, login: Option<&Login>) -> String {
    let authorization = login.map_or_else(String::new, |Login { username, password }| {
        format!(
            "Proxy-Authorization: Basic {}\r\n",
            BASE64_STANDARD.encode(format!("{username}:{password}"))
        )
    });
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n")
}

/// The status and length of the head, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, UpstreamError> {
    let mut headers = [EMPTY_HEADER; 96];
    let mut response = Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(Status::Complete(length)) => Ok(Some((
            response.code.expect("a whole head has a status"),
            length,
        ))),
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(wrong("its answer is not HTTP/1")),
    }
}

fn wrong(what: &'static str) -> UpstreamError {
    UpstreamError::Protocol {
        protocol: "HTTP",
        what,
    }
}

const LONGEST_HEAD: usize = 16 * 1024;
