//! The server's side of SOCKS4, and of SOCKS4a, which carries a name.
//!
//! No RFC describes them: what is meant is "SOCKS: A protocol for TCP proxy across firewalls" and
//! "SOCKS 4A: A Simple Extension to SOCKS 4 Protocol", both by Ying-Da Lee. There is no password:
//! the user id that a client sends is a claim of its own, which is read and believed by nobody.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use steer_core::address::Destination;
use steer_core::steered::{Answer, Flow, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::farewell::farewell;
use crate::handshake::End;
use crate::login::Login;

/// Reads a request, exactly up to its end.
///
/// # Errors
/// [`End::Words`] with the reply that refuses it.
pub(crate) async fn request<S>(stream: &mut S, login: Option<&Login>) -> Result<Destination, End>
where
    S: AsyncRead + Unpin,
{
    let mut fixed = [0; 8];
    stream.read_exact(&mut fixed).await?;
    let [version, command, high, low, a, b, c, d] = fixed;
    if version != VERSION {
        return Err(End::Silent("not SOCKS4"));
    }
    let port = u16::from_be_bytes([high, low]);
    let _user_id = text(stream).await?;
    let host = match [a, b, c, d] {
        // An address that no host has: the name follows (SOCKS4a).
        [0, 0, 0, last] if last > 0 => Err(text(stream).await?),
        octets => Ok(Ipv4Addr::from(octets)),
    };
    if login.is_some() {
        return Err(End::Words(reply(Code::OtherUser)));
    }
    if command != CONNECT || port == 0 {
        return Err(rejected());
    }
    match host {
        Ok(ip) => Ok(Destination::addr(SocketAddr::from((ip, port)))),
        Err(name) => std::str::from_utf8(&name)
            .ok()
            .and_then(|name| Destination::parse_host(name, port).ok())
            .ok_or_else(rejected),
    }
}

/// The end of a client whose request is not served.
pub(crate) fn rejected() -> End {
    End::Words(reply(Code::Rejected))
}

/// Tells how the dial ended by a reply code; SOCKS4 has one for every failure.
#[derive(Debug)]
pub(crate) struct Socks4Answer;

#[async_trait]
impl Answer for Socks4Answer {
    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        let words = reply(Code::Granted);
        match flow {
            Flow::Tcp(stream) => stream.write_all(&words).await,
            Flow::Stream(stream) => stream.write_all(&words).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    async fn failed(self: Box<Self>, flow: Flow, _why: Refusal) {
        farewell(flow, &reply(Code::Rejected)).await;
    }
}

/// Reply codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Granted = 0x5a,
    Rejected = 0x5b,
    /// "The client program and identd report different user-ids": the nearest to a login that
    /// SOCKS4 cannot carry.
    OtherUser = 0x5d,
}

/// A reply; its version is zero, and clients of CONNECT ignore the address.
fn reply(code: Code) -> Vec<u8> {
    vec![0, code as u8, 0, 0, 0, 0, 0, 0]
}

/// A text up to the zero byte behind it, which is read and not given.
///
/// A byte at a time: nothing behind the request may be taken, and how long it is nobody says.
async fn text<S>(stream: &mut S) -> Result<Vec<u8>, End>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    loop {
        match stream.read_u8().await? {
            0 => return Ok(bytes),
            _ if bytes.len() == LONGEST => return Err(rejected()),
            byte => bytes.push(byte),
        }
    }
}

const VERSION: u8 = 4;
const CONNECT: u8 = 1;

/// The longest user id and the longest name; no name of DNS is longer.
const LONGEST: usize = 255;

#[cfg(test)]
mod tests;
