//! The packet that an error is about, of which it quotes the beginning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use steer_core::address::Family;

use crate::packet::{Transport, checksum};

/// The beginning of a packet, with its transport's first 8 bytes at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    family: Family,
    bytes: &'a [u8],
    /// Where the transport's header starts.
    start: usize,
    pub(super) transport: Transport,
    source: IpAddr,
    destination: IpAddr,
}

impl<'a> Quoted<'a> {
    /// Finds the parts of what a message of this family quotes. Later fragments, and packets whose
    /// headers we do not send, are none.
    pub(super) fn read(family: Family, bytes: &'a [u8]) -> Option<Self> {
        let quoted = match family {
            Family::V4 => {
                let header: &[u8; 20] = bytes.first_chunk()?;
                let start = usize::from(header[0] & 0xf) * 4;
                let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
                if header[0] >> 4 != 4 || start < 20 || offset != 0 {
                    return None;
                }
                let ip = |at: usize| {
                    let octets: [u8; 4] = header[at..at + 4].try_into().expect("4 bytes");
                    IpAddr::V4(Ipv4Addr::from(octets))
                };
                Self {
                    family,
                    bytes,
                    start,
                    transport: Transport::of(family, header[9]),
                    source: ip(12),
                    destination: ip(16),
                }
            }
            Family::V6 => {
                let header: &[u8; 40] = bytes.first_chunk()?;
                if header[0] >> 4 != 6 {
                    return None;
                }
                let (start, number) = match header[6] {
                    FRAGMENT => {
                        let fragment: &[u8; 8] = bytes.get(40..)?.first_chunk()?;
                        let offset = u16::from_be_bytes([fragment[2], fragment[3]]) & !7;
                        if offset != 0 {
                            return None;
                        }
                        (48, fragment[0])
                    }
                    number => (40, number),
                };
                let ip = |at: usize| {
                    let octets: [u8; 16] = header[at..at + 16].try_into().expect("16 bytes");
                    IpAddr::V6(Ipv6Addr::from(octets))
                };
                Self {
                    family,
                    bytes,
                    start,
                    transport: Transport::of(family, number),
                    source: ip(8),
                    destination: ip(24),
                }
            }
        };
        (quoted.bytes.len() >= quoted.start + 8).then_some(quoted)
    }

    /// Who sent it, by the port of TCP and UDP; of an echo request, by its number.
    pub(super) fn source(&self) -> SocketAddr {
        let at = match self.transport {
            Transport::Icmp => 4,
            _ => 0,
        };
        SocketAddr::new(self.source, self.word(at))
    }

    /// Where it went.
    pub(super) fn destination(&self) -> SocketAddr {
        let port = match self.transport {
            Transport::Icmp => 0,
            _ => self.word(2),
        };
        SocketAddr::new(self.destination, port)
    }

    /// The type of an ICMP message.
    pub(super) fn kind(&self) -> u8 {
        self.bytes[self.start]
    }

    /// The same from another source (of an echo request: with its number) to another destination, the
    /// checksums mended. The ends are of the packet's family.
    pub(super) fn between(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) if self.family == Family::V4 => {
                bytes[12..16].copy_from_slice(&from.octets());
                bytes[16..20].copy_from_slice(&to.octets());
                bytes[10..12].fill(0);
                let sum = !checksum::fold(checksum::sum(&bytes[..self.start]));
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) if self.family == Family::V6 => {
                bytes[8..24].copy_from_slice(&from.octets());
                bytes[24..40].copy_from_slice(&to.octets());
            }
            _ => return bytes,
        }
        let addresses = |from: IpAddr, to: IpAddr| checksum::address(from) + checksum::address(to);
        let (mut before, mut after) = match (self.transport, self.family) {
            // Its checksum has no pseudo header.
            (Transport::Icmp, Family::V4) => (0, 0),
            _ => (
                addresses(self.source, self.destination),
                addresses(source.ip(), destination.ip()),
            ),
        };
        before += u64::from(self.source().port());
        after += u64::from(source.port());
        let transport = &mut bytes[self.start..];
        let field = match self.transport {
            Transport::Icmp => {
                transport[4..6].copy_from_slice(&source.port().to_be_bytes());
                2
            }
            transport_of_ports => {
                before += u64::from(self.destination().port());
                after += u64::from(destination.port());
                transport[..2].copy_from_slice(&source.port().to_be_bytes());
                transport[2..4].copy_from_slice(&destination.port().to_be_bytes());
                match transport_of_ports {
                    Transport::Tcp => 16,
                    _ => 6,
                }
            }
        };
        if let Some(sum) = transport.get_mut(field..field + 2) {
            let held = u16::from_be_bytes([sum[0], sum[1]]);
            let mended = checksum::updated(held, before, after);
            sum.copy_from_slice(&mended.to_be_bytes());
        }
        bytes
    }

    fn word(&self, at: usize) -> u16 {
        let at = self.start + at;
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

const FRAGMENT: u8 = 44;
