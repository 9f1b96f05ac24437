//! The PROXY protocol: what one proxy tells the next about a connection before its first byte.
//!
//! ```text
//! Header ─ encode(version) ─> bytes, text (v1) or binary (v2)
//! bytes ──── parse ─────────> Some((Header, length)) | None: more bytes are needed | HeaderError
//! ```
//!
//! The specification is <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. A header is
//! believed by whoever reads it, so a listener takes one from senders it was told to trust alone.
//!
//! # What is told beyond the addresses
//!
//! Version 2 carries typed values ([`Tlv`]). Those of the specification that are written here:
//!
//! | kind | value |
//! | --- | --- |
//! | `0x01` ALPN | the protocol that the client and the sender speak |
//! | `0x02` AUTHORITY | the name that the client asked for |
//! | `0x03` CRC32C | a checksum of the whole header; always written, and checked where present |
//! | `0x05` UNIQUE_ID | at most 128 bytes that name the connection |
//! | `0x30` NETNS | the name of the network namespace of the client |
//!
//! And those of the range that it leaves to everybody, which say who the program is:
//!
//! | kind | value |
//! | --- | --- |
//! | `0xE0` | its user id: four bytes, the most significant first |
//! | `0xE1` | its group id: the same |
//! | `0xE2` | the path of its program file, as bytes |
//! | `0xE3` | its cgroup below the root of the unified hierarchy, as UTF-8 |
//! | `0xE4` | its process id: as a user id |
//!
//! Others use the same kinds for other things (a cloud's load balancer has an id of eight bytes at
//! `0xE0`): [`Header::who`] takes nothing for an id whose length is not that of one.
//!
//! ```
//! use steer_core::address::Protocol;
//! use steer_core::proxy_protocol::{Header, Tlv, Version, parse};
//!
//! let (client, destination) = ("192.0.2.1:4711".parse()?, "[2001:db8::1]:443".parse()?);
//! let mut header = Header::proxied(Protocol::Tcp, client, destination);
//! header.tlvs.push(Tlv::authority("api.example.com"));
//! let mut bytes = header.encode(Version::V2)?;
//! bytes.extend(b"GET / HTTP/1.1");
//!
//! let (read, length) = parse(&bytes)?.expect("the header is whole");
//! assert_eq!(read.client(), Some("192.0.2.1:4711".parse()?));
//! assert_eq!(read.authority(), Some("api.example.com"));
//! assert_eq!(&bytes[length..], b"GET / HTTP/1.1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::{Protocol, canonical};

mod binary;
mod crc32c;
mod text;
mod tlv;

pub use tlv::{Tlv, Who};

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A line of text with the addresses alone.
    V1,
    /// Binary, with typed values beside the addresses.
    V2,
}

impl Version {
    /// All versions.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];
}

/// What a proxy tells about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub origin: Origin,
    /// What else is told; nothing of it can be said in version 1. The checksum is none of these.
    pub tlvs: Vec<Tlv>,
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The sender's own, a health check for example: the addresses are those of the socket.
    Local,
    /// Another's, of which the sender cannot say the addresses.
    Unknown,
    /// Another's, over IP.
    Ip {
        /// Its transport.
        protocol: Protocol,
        /// Who connected.
        client: SocketAddr,
        /// Where the client connected to. An unspecified address with a port stands for a name,
        /// which is then the AUTHORITY.
        destination: SocketAddr,
    },
    /// Another's, over a UNIX socket; the paths as they were sent, without the padding.
    Unix {
        /// The path of who connected; mostly empty.
        client: Vec<u8>,
        /// The path of the socket.
        destination: Vec<u8>,
    },
}

/// Why bytes are no header, or a header cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes begin with neither version's signature.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// The line of version 1 does not end where it has to.
    #[error("the PROXY protocol line is longer than 107 bytes")]
    Endless,
    /// The line of version 1 is malformed.
    #[error("the PROXY protocol line is malformed: {0}")]
    Line(&'static str),
    /// Version 2 is malformed.
    #[error("the PROXY protocol header is malformed: {0}")]
    Binary(&'static str),
    /// The checksum is another one.
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
    /// What is to be told has no room.
    #[error("the PROXY protocol header would be longer than 65535 bytes")]
    TooLong,
}

impl HeaderError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Absent => {
                "have the sender speak the PROXY protocol (v1 or v2), or do not ask for it at \
                 this listener"
            }
            Self::Endless | Self::Line(_) | Self::Binary(_) | Self::Checksum => {
                "see what the sender speaks, and whether something in between changes it"
            }
            Self::TooLong => "tell fewer or shorter values",
        }
        .to_owned()
    }
}

impl Header {
    /// The header of a connection that is passed on for a client.
    #[must_use]
    pub fn proxied(protocol: Protocol, client: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            origin: Origin::Ip {
                protocol,
                client: canonical(client),
                destination: canonical(destination),
            },
            tlvs: Vec::new(),
        }
    }

    /// The header of a connection that is the sender's own.
    #[must_use]
    pub fn local() -> Self {
        Self {
            origin: Origin::Local,
            tlvs: Vec::new(),
        }
    }

    /// The header as bytes.
    ///
    /// An IPv4 address beside an IPv6 one is written as a v4-mapped one. Version 1 has no word for
    /// what is not TCP over IP, and says that it is unknown.
    ///
    /// # Errors
    /// [`HeaderError::TooLong`]: version 2 has room for 65535 bytes.
    pub fn encode(&self, version: Version) -> Result<Vec<u8>, HeaderError> {
        match version {
            Version::V1 => Ok(text::encode(&self.origin)),
            Version::V2 => binary::encode(self),
        }
    }

    /// Who connected; none where the addresses are the socket's or are not known.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        match &self.origin {
            Origin::Ip { client, .. } => Some(*client),
            Origin::Local | Origin::Unknown | Origin::Unix { .. } => None,
        }
    }

    /// Where the client connected to; none as for [`Header::client`].
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match &self.origin {
            Origin::Ip { destination, .. } => Some(*destination),
            Origin::Local | Origin::Unknown | Origin::Unix { .. } => None,
        }
    }
}

/// Reads a header of either version from the first bytes of a connection.
///
/// Gives it with its length; what follows is the connection's. `None` asks for more bytes: a whole
/// header has at most [`LONGEST`].
///
/// # Errors
/// Why the bytes are none; more of them would not change it.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if begins(binary::SIGNATURE) {
        binary::parse(bytes)
    } else if begins(text::SIGNATURE) {
        text::parse(bytes)
    } else {
        Err(HeaderError::Absent)
    }
}

/// The length of the longest header: version 2 with as many values as it has room for.
pub const LONGEST: usize = 16 + 65535;

#[cfg(test)]
mod tests;
