//! Segments of TCP, as far as it takes to end a connection.

use std::net::{IpAddr, SocketAddr};

use nix::libc;

/// What a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Where it expects the other side to go on; `None` where it has heard nothing of it.
    pub(super) expects: Option<u32>,
    pub(super) opens: bool,
    pub(super) resets: bool,
}

impl Segment {
    /// Reads a packet; `None` for what is no TCP, or whose ports are elsewhere.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let at = |from: usize, length: usize| packet.get(from..from + length);
        let (start, from, to) = match packet.first()? >> 4 {
            4 => {
                let is_first = u16::from_be_bytes(at(6, 2)?.try_into().ok()?) & 0x1fff == 0;
                let ends = [at(12, 4)?, at(16, 4)?];
                let [from, to] = ends.map(|end| <[u8; 4]>::try_from(end).ok());
                (is_first && *packet.get(9)? == TCP).then_some((
                    usize::from(packet[0] & 0xf) * 4,
                    from?.into(),
                    to?.into(),
                ))?
            }
            6 => {
                let ends = [at(8, 16)?, at(24, 16)?];
                let [from, to] = ends.map(|end| <[u8; 16]>::try_from(end).ok());
                (*packet.get(6)? == TCP).then_some((V6_HEADER, from?.into(), to?.into()))?
            }
            _ => return None,
        };
        let header = at(start, HEADER)?;
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let flags = header[13];
        let expects = u32::from_be_bytes(header[8..12].try_into().ok()?);
        let ends: [IpAddr; 2] = [from, to];
        Some(Self {
            from: SocketAddr::new(ends[0], port(0)),
            to: SocketAddr::new(ends[1], port(2)),
            expects: (flags & ACK != 0).then_some(expects),
            opens: flags & SYN != 0,
            resets: flags & RST != 0,
        })
    }
}

/// A packet that ends a connection, as its other side would: it is believed where the client expects
/// just this sequence number (RFC 5961, section 3.2).
pub(super) fn reset(from: SocketAddr, to: SocketAddr, sequence: u32) -> Vec<u8> {
    build(from, to, sequence, 0, RST)
}

/// A packet that says nothing and acknowledges nothing: whoever has the connection answers it with
/// what he expects, unless the number is one that he does (RFC 9293, section 3.10.7.4).
pub(super) fn question(from: SocketAddr, to: SocketAddr, sequence: u32) -> Vec<u8> {
    build(from, to, sequence, 0, ACK)
}

/// Both ends are of one family.
fn build(from: SocketAddr, to: SocketAddr, sequence: u32, expects: u32, flags: u8) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(HEADER);
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(expects.to_be_bytes());
    tcp.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let length = u8::try_from(HEADER).expect("a header is short");
    let mut ends = octets(from.ip());
    ends.extend(octets(to.ip()));
    let sum = checksum(&[&ends, &[0, TCP, 0, length], &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = match from.ip() {
        // The kernel adds the identification and the checksum.
        IpAddr::V4(_) => vec![0x45, 0, 0, 20 + length, 0, 0, 0x40, 0, HOPS, TCP, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, length, TCP, HOPS],
    };
    packet.extend(ends);
    packet.extend(tcp);
    packet
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The sum of RFC 1071 over parts of even lengths.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("it was folded")
}

const TCP: u8 = libc::IPPROTO_TCP as u8;
const HEADER: usize = 20;
const V6_HEADER: usize = 40;
const HOPS: u8 = 64;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_and_its_sum_is_right() {
        for (from, to) in [
            ("192.0.2.1:80", "198.51.100.2:4000"),
            ("[2001:db8::1]:80", "[2001:db8::2]:4000"),
        ] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let read = Segment {
                from,
                to,
                expects: None,
                opens: false,
                resets: true,
            };
            let packet = reset(from, to, 7);
            assert_eq!(Segment::read(&packet), Some(read));
            let asked = Segment::read(&question(from, to, 7)).unwrap();
            assert_eq!((asked.expects, asked.resets), (Some(0), false));
            let start = packet.len() - HEADER;
            let ends = [octets(from.ip()), octets(to.ip())].concat();
            assert_eq!(checksum(&[&ends, &[0, TCP, 0, 20], &packet[start..]]), 0);
        }
    }

    #[test]
    fn what_is_cut_or_no_tcp_or_no_first_fragment_is_nothing() {
        let ends = ["192.0.2.1:80", "198.51.100.2:4000"];
        let [from, to] = ends.map(|end| end.parse().unwrap());
        let whole = reset(from, to, 7);
        for length in 0..whole.len() {
            assert_eq!(Segment::read(&whole[..length]), None, "{length}");
        }
        for (at, value) in [(0, 0x55), (7, 1), (9, 17)] {
            let mut odd = whole.clone();
            odd[at] = value;
            assert_eq!(Segment::read(&odd), None, "{at}");
        }
    }
}
