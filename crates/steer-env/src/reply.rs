//! What HTTP clients are told when there is no connection.

use std::fmt;

use steer_core::address::Destination;
use steer_core::steered::Refusal;

/// A request that is not passed on, and whose fault that is: the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The head is no HTTP/1 head.
    #[error("this is no HTTP/1 request: {0}")]
    Malformed(&'static str),
    /// The target is none that a proxy serves.
    #[error("this is a proxy: {0}")]
    Target(&'static str),
    /// Where the body ends is not certain.
    #[error("the length of the body is not certain: {0}")]
    Framing(&'static str),
    /// Name and password are missing or wrong.
    #[error("this proxy wants a name and a password")]
    Login,
    /// The client is a user whom the port does not serve.
    #[error(
        "this proxy serves the user of one command: give that command a proxy with a login \
         (listen.auth) for other users"
    )]
    Stranger,
    /// The head did not arrive in time.
    #[error("the request did not arrive in time")]
    Slow,
    /// The head is too long.
    #[error("the head of the request is too long")]
    TooLong,
    /// Something that is not served.
    #[error("not served here: {0}")]
    Unserved(&'static str),
}

/// Whether an answer may carry a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// A line that says why.
    Line,
    /// None: the request was HEAD, whose answer has no body.
    None,
}

impl Fault {
    /// The whole answer.
    pub(crate) fn answer(self) -> Vec<u8> {
        let (status, field) = match self {
            Self::Malformed(_) | Self::Target(_) | Self::Framing(_) => ("400 Bad Request", ""),
            Self::Login => (
                "407 Proxy Authentication Required",
                "Proxy-Authenticate: Basic realm=\"steer\", charset=\"UTF-8\"\r\n",
            ),
            Self::Stranger => ("403 Forbidden", ""),
            Self::Slow => ("408 Request Timeout", ""),
            Self::TooLong => ("431 Request Header Fields Too Large", ""),
            Self::Unserved(_) => ("501 Not Implemented", ""),
        };
        answer(status, field, &self, Detail::Line)
    }
}

/// The answer to a request whose destination was not reached.
///
/// The error types of `Proxy-Status` are those of RFC 9209, section 2.3.
pub(crate) fn refusal(why: Refusal, destination: &Destination, detail: Detail) -> Vec<u8> {
    let (status, error, words) = match why {
        Refusal::Refused => (BAD_GATEWAY, "connection_refused", "refused the connection"),
        Refusal::Reset => (BAD_GATEWAY, "connection_terminated", "reset the connection"),
        Refusal::TimedOut => (
            "504 Gateway Timeout",
            "connection_timeout",
            "did not answer in time",
        ),
        Refusal::HostUnreachable => (
            BAD_GATEWAY,
            "destination_ip_unroutable",
            "cannot be reached: no route to the host",
        ),
        Refusal::NetworkUnreachable => (
            BAD_GATEWAY,
            "destination_ip_unroutable",
            "cannot be reached: no route to its network",
        ),
        Refusal::NoSuchHost => (BAD_GATEWAY, "dns_error", "has no address"),
        Refusal::Denied => (
            "403 Forbidden",
            "http_request_denied",
            "is rejected by a rule",
        ),
        Refusal::Loop => (
            BAD_GATEWAY,
            "proxy_loop_detected",
            "leads back to this proxy",
        ),
        Refusal::Upstream => (
            BAD_GATEWAY,
            "destination_unavailable",
            "was not reached: the upstream proxy would not",
        ),
        Refusal::Busy => (
            "503 Service Unavailable",
            "connection_limit_reached",
            "was not tried: this proxy is at a limit",
        ),
        _ => (
            BAD_GATEWAY,
            "proxy_internal_error",
            "could not be connected",
        ),
    };
    let field = format!("Proxy-Status: steer; error={error}\r\n");
    answer(
        status,
        &field,
        &format_args!("{destination} {words}"),
        detail,
    )
}

fn answer(status: &str, field: &str, text: &dyn fmt::Display, detail: Detail) -> Vec<u8> {
    let line = format!("steer: {text}\n");
    let length = line.len();
    let body = match detail {
        Detail::Line => line.as_str(),
        Detail::None => "",
    };
    format!(
        "HTTP/1.1 {status}\r\n{field}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

const BAD_GATEWAY: &str = "502 Bad Gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_a_proxy_status_and_a_line_that_names_the_destination() {
        let destination: Destination = "example.com:443".parse().unwrap();
        for (why, status) in [
            (Refusal::Refused, 502),
            (Refusal::Reset, 502),
            (Refusal::TimedOut, 504),
            (Refusal::HostUnreachable, 502),
            (Refusal::NetworkUnreachable, 502),
            (Refusal::NoSuchHost, 502),
            (Refusal::Denied, 403),
            (Refusal::Loop, 502),
            (Refusal::Upstream, 502),
            (Refusal::Busy, 503),
            (Refusal::Other, 502),
        ] {
            let bytes = refusal(why, &destination, Detail::Line);
            let mut fields = [httparse::EMPTY_HEADER; 8];
            let mut response = httparse::Response::new(&mut fields);
            let head = response.parse(&bytes).unwrap().unwrap();
            assert_eq!(response.code, Some(status), "{why:?}");
            let field = |name| {
                let found = response.headers.iter().find(|h| h.name == name);
                String::from_utf8(found.unwrap().value.to_vec()).unwrap()
            };
            assert_eq!(field("Content-Length"), (bytes.len() - head).to_string());
            assert!(field("Proxy-Status").starts_with("steer; error="));
            let line = std::str::from_utf8(&bytes[head..]).unwrap();
            assert!(line.starts_with("steer: example.com:443 "), "{line}");
            let bare = refusal(why, &destination, Detail::None);
            assert_eq!(bare, bytes[..head], "a HEAD request gets the same head");
        }
    }
}
