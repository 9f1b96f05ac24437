//! One recorded packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::family::Family;

/// Which way a packet passed the interface, seen from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the host.
    Incoming,
    /// Out of the host.
    Outgoing,
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(
    /// The byte as it stands in the header.
    pub u8,
);

impl Flags {
    /// Whether FIN is set.
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Whether SYN is set.
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Whether RST is set.
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Whether ACK is set.
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = "FSRPAU"
            .chars()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0);
        letters
            .map(|(_, letter)| letter)
            .try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// A recorded IP packet; with offloads it may be larger than any MTU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which way it passed.
    pub direction: Direction,
    /// The protocol number: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6.
    pub protocol: u8,
    /// Its source; port 0 where the protocol has none.
    pub source: SocketAddr,
    /// Its destination; port 0 where the protocol has none.
    pub destination: SocketAddr,
    /// Its TCP flags, none for other protocols.
    pub flags: Flags,
    /// The length of what it carries above TCP, UDP or, for other protocols, IP.
    pub length: usize,
    /// The first bytes of that, 256 at most.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.source.ip())
    }

    /// Whether it is TCP.
    pub fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether it is UDP.
    pub fn is_udp(&self) -> bool {
        self.protocol == UDP
    }

    /// Whether it is the first segment of a TCP connection.
    pub fn is_connect(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }

    /// Whether the recorded part of the payload contains these bytes.
    pub fn carries(&self, bytes: &[u8]) -> bool {
        self.payload
            .windows(bytes.len().max(1))
            .any(|window| window == bytes)
    }

    /// Reads an IP packet; `None` for what is no IP or is cut short.
    pub(super) fn parse(direction: Direction, bytes: &[u8]) -> Option<Self> {
        let ip = match bytes.first()? >> 4 {
            4 => parse_v4(bytes)?,
            6 => parse_v6(bytes)?,
            _ => return None,
        };
        let port = |at: usize| {
            Some(u16::from_be_bytes([
                *ip.payload.get(at)?,
                *ip.payload.get(at + 1)?,
            ]))
        };
        let (ports, flags, header) = match ip.protocol {
            TCP => {
                let offset = usize::from(*ip.payload.get(12)? >> 4) * 4;
                ((port(0)?, port(2)?), Flags(*ip.payload.get(13)?), offset)
            }
            UDP => ((port(0)?, port(2)?), Flags::default(), 8),
            _ => ((0, 0), Flags::default(), 0),
        };
        let payload = ip.payload.get(header..)?;
        Some(Self {
            direction,
            protocol: ip.protocol,
            source: SocketAddr::new(ip.source, ports.0),
            destination: SocketAddr::new(ip.destination, ports.1),
            flags,
            length: payload.len(),
            payload: payload[..payload.len().min(KEPT)].to_vec(),
        })
    }
}

/// The parts of an IP packet that both families have.
struct Ip<'a> {
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    payload: &'a [u8],
}

fn parse_v4(bytes: &[u8]) -> Option<Ip<'_>> {
    let header = usize::from(bytes[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    // A length of 0 stands for an offloaded packet of 64 KiB or more; padding is cut off.
    let end = if total == 0 {
        bytes.len()
    } else {
        total.min(bytes.len())
    };
    Some(Ip {
        protocol: *bytes.get(9)?,
        source: address(12)?,
        destination: address(16)?,
        payload: bytes.get(header..end)?,
    })
}

fn parse_v6(bytes: &[u8]) -> Option<Ip<'_>> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    let length = usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
    let end = if length == 0 {
        bytes.len()
    } else {
        (40 + length).min(bytes.len())
    };
    let mut protocol = *bytes.get(6)?;
    let mut payload = bytes.get(40..end)?;
    while let HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS = protocol {
        protocol = *payload.first()?;
        payload = payload.get(8 + usize::from(*payload.get(1)?) * 8..)?;
    }
    Some(Ip {
        protocol,
        source: address(8)?,
        destination: address(24)?,
        payload,
    })
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_and_every_truncation_is_no_packet_and_no_panic() {
        let mut syn = vec![
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
        ];
        syn.extend([
            0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
        ]);
        let packet = Packet::parse(Direction::Outgoing, &syn).expect("a whole segment");
        assert!(packet.is_connect());
        assert_eq!(
            packet.destination,
            "10.77.0.2:80".parse().expect("an address")
        );
        for length in 0..syn.len() {
            assert_eq!(Packet::parse(Direction::Outgoing, &syn[..length]), None);
        }
        for first in 0..=255 {
            let _ = Packet::parse(Direction::Incoming, &[first; 60]);
        }
    }
}
