//! HTTP CONNECT (RFC 9110, section 9.3.6): the server's side.

use std::io;

use async_trait::async_trait;
use steer_core::address::Destination;
use steer_core::steered::{Answer, Flow, Refusal};
use tokio::io::AsyncWriteExt;

use crate::farewell::farewell;
use crate::framing::Framing;
use crate::reply::{Detail, Fault, refusal};

/// The destination of a CONNECT request.
pub(crate) fn destination(target: &str, framing: Framing) -> Result<Destination, Fault> {
    if framing != Framing::Empty {
        // Such a body has no meaning: one side's body is the other side's tunnel.
        return Err(Fault::Framing("a CONNECT request has no body"));
    }
    target
        .parse()
        .map_err(|_| Fault::Target("CONNECT wants HOST:PORT, with an IPv6 address in brackets"))
}

/// Tells how the dial ended by a status.
#[derive(Debug)]
pub(crate) struct ConnectAnswer {
    /// For the words of a refusal.
    pub(crate) destination: Destination,
}

#[async_trait]
impl Answer for ConnectAnswer {
    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        match flow {
            Flow::Tcp(stream) => stream.write_all(ESTABLISHED).await,
            Flow::Stream(stream) => stream.write_all(ESTABLISHED).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        farewell(flow, &refusal(why, &self.destination, Detail::Line)).await;
    }
}

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_a_host_and_a_port_and_nothing_else() {
        for (target, expected) in [
            ("example.com:443", "example.com:443"),
            ("203.0.113.7:80", "203.0.113.7:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ] {
            let destination = destination(target, Framing::Empty).unwrap();
            assert_eq!(destination.to_string(), expected);
        }
        for wrong in [
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:70000",
            "example.com:+80",
            "2001:db8::1:443",
            ":443",
            "/",
            "http://example.com:80",
            "u:p@example.com:80",
            "exa%6dple.com:80",
        ] {
            assert!(destination(wrong, Framing::Empty).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_is_refused() {
        assert!(destination("example.com:443", Framing::Chunked).is_err());
        assert!(destination("example.com:443", Framing::Length(5)).is_err());
    }
}
