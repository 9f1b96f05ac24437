//! Whose connection it is, by the PROXY protocol header that a trusted sender begins with.
//!
//! Who does not have to send a header is not asked for one: a reader that guessed whether there is
//! one would believe whoever writes it.

use std::net::SocketAddr;

use steer_core::address::{Cidr, ClientAddr, Protocol};
use steer_core::proxy_protocol::{self, Header, Origin};
use tokio::io::AsyncReadExt;

use crate::handshake::End;
use crate::head::Peek;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// That of who connected.
    Sender,
    /// Another's, with its address where the sender knows it.
    Client(Option<SocketAddr>),
}

/// Reads the header where the sender is one of those who begin with one, exactly up to its end.
///
/// # Errors
/// [`End::Silent`] where there is none: a sender that is trusted is not what the port was told.
pub(crate) async fn announced<S: Peek>(
    stream: &mut S,
    sender: ClientAddr,
    senders: &[Cidr],
) -> Result<Announced, End> {
    if !senders.iter().any(|net| net.contains(sender.0.ip())) {
        return Ok(Announced::Sender);
    }
    let header = read(stream).await?;
    Ok(match header.origin {
        Origin::Local => Announced::Sender,
        Origin::Ip {
            protocol: Protocol::Tcp,
            client,
            destination: _,
        } => Announced::Client(Some(client)),
        // Datagrams and UNIX sockets are none of what arrives here, so that an address of theirs
        // says nothing.
        Origin::Unknown | Origin::Unix { .. } | Origin::Ip { .. } => Announced::Client(None),
    })
}

async fn read<S: Peek>(stream: &mut S) -> Result<Header, End> {
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        bytes.resize((start + STEP).min(LONGEST), 0);
        let seen = stream.peek(&mut bytes[start..]).await?;
        if seen == 0 {
            return Err(End::Silent("the sender left within its PROXY header"));
        }
        let parsed = proxy_protocol::parse(&bytes[..start + seen]).map_err(|error| {
            let help = error.help();
            tracing::warn!(%error, %help, "a trusted sender was reset");
            End::Silent("no PROXY header")
        })?;
        // Without an end, all of it belongs to the header.
        let end = parsed.as_ref().map_or(start + seen, |(_, length)| *length);
        stream.read_exact(&mut bytes[start..end]).await?;
        bytes.truncate(end);
        match parsed {
            Some((header, _)) => return Ok(header),
            None if end == LONGEST => {
                tracing::warn!(longest = LONGEST, "a PROXY header has no end");
                return Err(End::Silent("a PROXY header has no end"));
            }
            None => {}
        }
    }
}

/// How much is looked at at a time.
const STEP: usize = 512;

/// The longest header that is read. The protocol allows four times as much; what senders write has
/// a few hundred bytes, and every handshake may hold that many.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests;
