//! Where the parts of a packet are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::Family;

use super::Reason;

/// Where the parts of an IP packet are. What it says lies within the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its family.
    pub family: Family,
    /// Who sent it.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// How many more hops it may make (TTL, hop limit).
    pub hops: u8,
    /// The transport, after all extension headers.
    pub transport: Transport,
    /// Where the transport's header starts, or of a fragment what it carries.
    pub start: usize,
    /// Where the packet ends: bytes after it are padding of the link.
    pub end: usize,
    /// Which part of a packet it is, where it is not a whole one.
    pub fragment: Option<Fragment>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of the packet's family.
    Icmp,
    /// Another protocol, by its number.
    Other(u8),
}

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What it has in common with the other parts.
    pub id: u32,
    /// Where in the payload it belongs, in bytes.
    pub offset: usize,
    /// Whether others follow.
    pub more: bool,
    /// Where, in IPv6, the header is whose next-header field has to name the transport once it is whole.
    pub previous: usize,
}

impl Transport {
    /// The one of a protocol number.
    #[must_use]
    pub const fn of(family: Family, number: u8) -> Self {
        match (number, family) {
            (6, _) => Self::Tcp,
            (17, _) => Self::Udp,
            (1, Family::V4) | (58, Family::V6) => Self::Icmp,
            _ => Self::Other(number),
        }
    }

    /// Its protocol number.
    #[must_use]
    pub const fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Icmp, Family::V4) => 1,
            (Self::Icmp, Family::V6) => 58,
            (Self::Other(number), _) => number,
        }
    }
}

/// Finds the parts of a packet: its length, version, header checksum and options are looked at, its
/// addresses and its transport's header are not.
///
/// # Errors
/// Why it cannot be taken.
pub fn parse(packet: &[u8]) -> Result<Parsed, Reason> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => v4(packet),
        Some(6) => v6(packet),
        Some(_) => Err(Reason::Version),
        None => Err(Reason::Length),
    }
}

fn v4(packet: &[u8]) -> Result<Parsed, Reason> {
    let fixed: &[u8; 20] = packet.first_chunk().ok_or(Reason::Length)?;
    let header = usize::from(fixed[0] & 0xf) * 4;
    let end = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if header < 20 || end < header || packet.len() < end {
        return Err(Reason::Length);
    }
    if super::checksum::fold(super::checksum::sum(&packet[..header])) != 0xffff {
        return Err(Reason::Checksum);
    }
    options(&packet[20..header])?;
    let place = u16::from_be_bytes([fixed[6], fixed[7]]);
    let (more, offset) = (place & 0x2000 != 0, usize::from(place & 0x1fff) * 8);
    let fragment = (more || offset > 0).then(|| Fragment {
        id: u32::from(u16::from_be_bytes([fixed[4], fixed[5]])),
        offset,
        more,
        previous: 0,
    });
    let ip = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(
            fixed[at],
            fixed[at + 1],
            fixed[at + 2],
            fixed[at + 3],
        ))
    };
    Ok(Parsed {
        family: Family::V4,
        source: ip(12),
        destination: ip(16),
        hops: fixed[8],
        transport: Transport::of(Family::V4, fixed[9]),
        start: header,
        end,
        fragment,
    })
}

/// Options are passed on, but for those that say where a packet is to go (RFC 7126).
fn options(mut options: &[u8]) -> Result<(), Reason> {
    while let [kind, rest @ ..] = options {
        options = match kind {
            0 => return Ok(()),
            1 => rest,
            0x83 | 0x89 => return Err(Reason::Options),
            _ => {
                let length = usize::from(*rest.first().ok_or(Reason::Options)?);
                if length < 2 {
                    return Err(Reason::Options);
                }
                options.get(length..).ok_or(Reason::Options)?
            }
        };
    }
    Ok(())
}

fn v6(packet: &[u8]) -> Result<Parsed, Reason> {
    let fixed: &[u8; 40] = packet.first_chunk().ok_or(Reason::Length)?;
    let end = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if packet.len() < end {
        return Err(Reason::Length);
    }
    let ip = |at: usize| {
        let octets: [u8; 16] = fixed[at..at + 16].try_into().expect("16 bytes");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut parsed = Parsed {
        family: Family::V6,
        source: ip(8),
        destination: ip(24),
        hops: fixed[7],
        transport: Transport::Other(fixed[6]),
        start: 40,
        end,
        fragment: None,
    };
    let mut next = fixed[6];
    // Where the number of the header at `start` stands.
    let mut named = 6;
    for _ in 0..HEADERS_MOST {
        let rest = &packet[parsed.start..end];
        let length = match next {
            // Hop by hop, destination.
            0 | 60 => header_length(rest)?,
            ROUTING => {
                // Type 0 was abolished (RFC 5095), and all others are of networks that know them.
                let segments_left = *rest.get(3).ok_or(Reason::Length)?;
                if segments_left > 0 {
                    return Err(Reason::Options);
                }
                header_length(rest)?
            }
            FRAGMENT => {
                let header: &[u8; 8] = rest.first_chunk().ok_or(Reason::Length)?;
                let place = u16::from_be_bytes([header[2], header[3]]);
                let (offset, more) = (usize::from(place & !7), place & 1 != 0);
                parsed.start += 8;
                parsed.transport = Transport::of(Family::V6, header[0]);
                // One that is all of its packet is no fragment (RFC 6946), but for its header.
                parsed.fragment = Some(Fragment {
                    id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                    offset,
                    more,
                    previous: named,
                });
                return Ok(parsed);
            }
            number => {
                parsed.transport = Transport::of(Family::V6, number);
                return Ok(parsed);
            }
        };
        if rest.len() < length {
            return Err(Reason::Length);
        }
        next = rest[0];
        named = parsed.start;
        parsed.start += length;
    }
    Err(Reason::Options)
}

fn header_length(header: &[u8]) -> Result<usize, Reason> {
    let units = *header.get(1).ok_or(Reason::Length)?;
    Ok(8 + usize::from(units) * 8)
}

const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;

/// More extension headers than this have no use.
const HEADERS_MOST: usize = 8;
