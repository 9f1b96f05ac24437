//! What the library in a program's process and the engine say to each other, over a unix stream.
//!
//! ```text
//! connect ─> Connect + the socket ─┬─> Errno
//!                                  └─> Own (connect there yourself) ─> Outcome ─> Own | Errno
//! waiting, and interrupted         ─> Pend ─> Errno
//! getpeername, SO_ERROR            ─> Peer | Failure + the socket ─> Address | Errno
//! connect of AF_UNSPEC             ─> Forget + the socket ─> Errno
//! getaddrinfo                      ─> Resolve + the name ─> Address | Errno
//! ```
//!
//! Both ends are of one build and on one machine, so that numbers are the machine's. This file is
//! part of both; it needs neither an allocator nor the standard library.

/// A question of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What is asked.
    pub(crate) ask: Ask,
    /// Whether the socket is nonblocking.
    pub(crate) nonblocking: bool,
    /// The address that it is about; zero where it is about none.
    pub(crate) address: Address,
    /// For an outcome, how it went: errno.
    pub(crate) errno: i32,
    /// How many bytes of a name follow.
    pub(crate) name: u16,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ask {
    /// The socket that comes with this wants to connect.
    Connect = 1,
    /// How a connection that the program made itself went.
    Outcome = 2,
    /// The program waits no longer: the connection is made in the background.
    Pend = 3,
    /// Whom the program means by the peer of a socket.
    Peer = 4,
    /// Why a connection in the background failed.
    Failure = 5,
    /// An address that stands for a name.
    Resolve = 6,
    /// The program disconnects the socket.
    Forget = 7,
}

/// An answer of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is done (0), or failed so.
    Errno(i32),
    /// Connect to this address yourself.
    Own(Address),
    /// This address.
    Address(Address),
}

/// An address and a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// 4, 6, or 0 for none.
    pub(crate) version: u8,
    /// The port.
    pub(crate) port: u16,
    /// The interface of a link-local IPv6 address.
    pub(crate) scope: u32,
    /// The address, IPv4 in the first four bytes.
    pub(crate) ip: [u8; 16],
}

/// How long a question is, without a name.
pub(crate) const REQUEST: usize = 40;

/// How long an answer is.
pub(crate) const REPLY: usize = 32;

/// The longest name, in bytes.
pub(crate) const NAME: usize = 255;

const VERSION: u8 = 1;

impl Request {
    /// A question about an address.
    pub(crate) const fn new(ask: Ask, address: Address) -> Self {
        Self {
            ask,
            nonblocking: false,
            address,
            errno: 0,
            name: 0,
        }
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        bytes[0] = VERSION;
        bytes[1] = self.ask as u8;
        bytes[2] = u8::from(self.nonblocking);
        bytes[4..6].copy_from_slice(&self.name.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[16..40].copy_from_slice(&self.address.encode());
        bytes
    }

    /// The question in these bytes; `None` where there is none.
    pub(crate) fn decode(bytes: &[u8; REQUEST]) -> Option<Self> {
        let ask = match bytes[1] {
            1 => Ask::Connect,
            2 => Ask::Outcome,
            3 => Ask::Pend,
            4 => Ask::Peer,
            5 => Ask::Failure,
            6 => Ask::Resolve,
            7 => Ask::Forget,
            _ => return None,
        };
        let name = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if bytes[0] != VERSION || usize::from(name) > NAME {
            return None;
        }
        Some(Self {
            ask,
            nonblocking: bytes[2] != 0,
            address: Address::decode(&tail(bytes))?,
            errno: i32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            name,
        })
    }
}

impl Reply {
    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; REPLY] {
        let mut bytes = [0; REPLY];
        bytes[0] = VERSION;
        let (kind, errno, address) = match self {
            Self::Errno(errno) => (1, *errno, Address::default()),
            Self::Own(address) => (2, 0, *address),
            Self::Address(address) => (3, 0, *address),
        };
        bytes[1] = kind;
        bytes[4..8].copy_from_slice(&errno.to_ne_bytes());
        bytes[8..32].copy_from_slice(&address.encode());
        bytes
    }

    /// The answer in these bytes; `None` where there is none.
    pub(crate) fn decode(bytes: &[u8; REPLY]) -> Option<Self> {
        if bytes[0] != VERSION {
            return None;
        }
        let address = Address::decode(&tail(bytes))?;
        match bytes[1] {
            1 => Some(Self::Errno(i32::from_ne_bytes([
                bytes[4], bytes[5], bytes[6], bytes[7],
            ]))),
            2 => Some(Self::Own(address)),
            3 => Some(Self::Address(address)),
            _ => None,
        }
    }
}

impl Address {
    fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[0] = self.version;
        bytes[2..4].copy_from_slice(&self.port.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.scope.to_ne_bytes());
        bytes[8..24].copy_from_slice(&self.ip);
        bytes
    }

    fn decode(bytes: &[u8; 24]) -> Option<Self> {
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[8..24]);
        matches!(bytes[0], 0 | 4 | 6).then_some(Self {
            version: bytes[0],
            port: u16::from_ne_bytes([bytes[2], bytes[3]]),
            scope: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            ip,
        })
    }
}

/// The address at the end of a message.
fn tail<const N: usize>(bytes: &[u8; N]) -> [u8; 24] {
    let mut address = [0; 24];
    address.copy_from_slice(&bytes[N - 24..]);
    address
}
