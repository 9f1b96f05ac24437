//! Messages of DHCP, read and written (RFC 2131, RFC 2132).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::Mac;

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::segment) struct Request<'a> {
    pub(super) kind: Kind,
    /// Its transaction, the seconds since it began and its flags, as they go back.
    transaction: [u8; 4],
    flags: [u8; 2],
    /// Whether it hears nothing but what goes to all.
    pub(super) broadcast: bool,
    /// The address that it has.
    pub(super) current: Ipv4Addr,
    /// Who relays for it.
    pub(super) relay: Ipv4Addr,
    pub(super) hardware: Mac,
    /// What it calls itself.
    pub(super) client: Option<&'a [u8]>,
    /// The address that it wants.
    pub(super) requested: Option<Ipv4Addr>,
    /// Whose offer it takes.
    pub(super) server: Option<Ipv4Addr>,
}

/// What the server says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) kind: Kind,
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    pub(super) settings: Option<Settings<'a>>,
}

/// What a client is told of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// How long it may use the address, where it is given one.
    pub(super) lease: Option<Duration>,
    pub(super) mask: Ipv4Addr,
    pub(super) mtu: u16,
    pub(super) resolvers: &'a [Ipv4Addr],
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Discover = 1,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
}

impl<'a> Request<'a> {
    /// Reads a client's message; `None` where it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, options) = bytes.split_first_chunk::<FIXED>()?;
        if fixed[..3] != [BOOT_REQUEST, ETHERNET, 6] || fixed[236..] != COOKIE {
            return None;
        }
        let ip = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let mut kind = None;
        let (mut client, mut requested, mut server) = (None, None, None);
        let mut rest = options;
        while let [code, after @ ..] = rest {
            let value = match *code {
                PAD => {
                    rest = after;
                    continue;
                }
                END => break,
                _ => {
                    let (length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(usize::from(*length))?;
                    rest = after;
                    value
                }
            };
            match *code {
                KIND => kind = Some(Kind::read(value)?),
                REQUESTED => requested = Some(address(value)?),
                SERVER_ID => server = Some(address(value)?),
                // Shorter ones than RFC 2132 allows name nobody.
                CLIENT_ID if value.len() >= 2 => client = Some(value),
                _ => {}
            }
        }
        Some(Self {
            kind: kind?,
            transaction: [fixed[4], fixed[5], fixed[6], fixed[7]],
            flags: [fixed[10], fixed[11]],
            broadcast: fixed[10] & 0x80 != 0,
            current: ip(12),
            relay: ip(24),
            hardware: fixed[28..34].try_into().expect("six bytes"),
            client,
            requested,
            server,
        })
    }
}

impl Reply<'_> {
    /// The message that answers a request.
    pub(super) fn bytes(&self, request: &Request<'_>) -> Vec<u8> {
        let mut fixed = [0; FIXED];
        fixed[..3].copy_from_slice(&[BOOT_REPLY, ETHERNET, 6]);
        fixed[4..8].copy_from_slice(&request.transaction);
        fixed[10..12].copy_from_slice(&request.flags);
        if self.kind == Kind::Ack {
            fixed[12..16].copy_from_slice(&request.current.octets());
        }
        fixed[16..20].copy_from_slice(&self.address.octets());
        fixed[28..34].copy_from_slice(&request.hardware);
        fixed[236..].copy_from_slice(&COOKIE);
        let mut bytes = fixed.to_vec();
        let mut option = |code: u8, value: &[u8]| {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        };
        option(KIND, &[self.kind as u8]);
        option(SERVER_ID, &self.server.octets());
        if let Some(settings) = &self.settings {
            if let Some(lease) = settings.lease {
                let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
                option(LEASE, &seconds.to_be_bytes());
            }
            option(MASK, &settings.mask.octets());
            option(ROUTER, &self.server.octets());
            option(MTU, &settings.mtu.to_be_bytes());
            let resolvers: Vec<_> = settings.resolvers.iter().map(Ipv4Addr::octets).collect();
            if !resolvers.is_empty() {
                option(RESOLVERS, &resolvers.concat());
            }
        }
        // Back to whom it is for (RFC 6842).
        if let Some(client) = request.client {
            option(CLIENT_ID, client);
        }
        bytes.push(END);
        // Relays and old clients want no shorter ones than BOOTP's.
        bytes.resize(bytes.len().max(SHORTEST), PAD);
        bytes
    }
}

impl Kind {
    fn read(value: &[u8]) -> Option<Self> {
        let all = [
            Self::Discover,
            Self::Offer,
            Self::Request,
            Self::Decline,
            Self::Ack,
            Self::Nak,
            Self::Release,
            Self::Inform,
        ];
        let [number] = value else { return None };
        all.into_iter().find(|kind| *kind as u8 == *number)
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The length of what is before the options, the cookie included.
const FIXED: usize = 240;
/// The length of a message of BOOTP (RFC 1542, 2.1).
const SHORTEST: usize = 300;

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const RESOLVERS: u8 = 6;
const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const LEASE: u8 = 51;
const KIND: u8 = 53;
const SERVER_ID: u8 = 54;
const CLIENT_ID: u8 = 61;
const END: u8 = 255;
