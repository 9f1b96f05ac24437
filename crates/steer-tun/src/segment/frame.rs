//! Ethernet II frames.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::{GATEWAY, ICMP6, Mac, Taken, UDP};
use crate::packet::checksum;
use crate::wire::Hop;

/// A frame that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) destination: Mac,
    pub(super) source: Mac,
    /// The EtherType.
    pub(super) kind: u16,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads one; `None` where it is shorter than its header.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, payload) = bytes.split_first_chunk::<HEADER>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, high, low] = *header;
        Some(Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            kind: u16::from_be_bytes([high, low]),
            payload,
        })
    }

    /// Whether one station can have sent it, another one than the gateway.
    pub(super) fn is_from_a_station(&self) -> bool {
        self.source[0] & GROUP == 0 && self.source != [0; 6] && self.source != GATEWAY
    }

    /// Whether it is for the gateway, or for all.
    pub(super) fn is_for_us(&self) -> bool {
        self.destination[0] & GROUP != 0 || self.is_for_the_gateway()
    }

    pub(super) fn is_for_the_gateway(&self) -> bool {
        self.destination == GATEWAY
    }

    /// What it carries, for the path.
    pub(super) const fn packet(&self) -> Taken {
        Taken::Packet {
            hop: Hop::Station(self.source),
            at: HEADER,
        }
    }
}

/// A frame of the gateway's.
pub(super) fn frame(destination: Mac, kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    [
        &destination[..],
        &GATEWAY,
        &kind.to_be_bytes(),
        &parts.concat(),
    ]
    .concat()
}

/// A frame with an ICMPv6 message of the link, whose checksum field is zero.
pub(super) fn icmp6(
    to: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut message: Vec<u8>,
) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("messages of the link are short");
    let pseudo = checksum::pseudo(source.into(), destination.into(), ICMP6, message.len());
    let sum = !checksum::fold(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let [high, low] = length.to_be_bytes();
    let fixed = [0x60, 0, 0, 0, high, low, ICMP6, ON_LINK];
    let parts: [&[u8]; 4] = [&fixed, &source.octets(), &destination.octets(), &message];
    frame(to, IPV6, &parts)
}

/// A frame with a datagram.
pub(super) fn udp4(
    to: Mac,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    payload: &[u8],
) -> Vec<u8> {
    let length = 8 + payload.len();
    let word = |length: usize| u16::try_from(length).expect("messages of the link are short");
    let mut udp = [0; 8];
    udp[0..2].copy_from_slice(&source.port().to_be_bytes());
    udp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    udp[4..6].copy_from_slice(&word(length).to_be_bytes());
    let (source, destination) = (*source.ip(), *destination.ip());
    let pseudo = checksum::pseudo(source.into(), destination.into(), UDP, length);
    let sum = match !checksum::fold(pseudo + checksum::sum(&udp) + checksum::sum(payload)) {
        // Zero would say that there is none.
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let header = v4_header(source, destination, word(20 + length));
    frame(to, IPV4, &[&header, &udp, payload])
}

fn v4_header(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[8] = 64;
    header[9] = UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = !checksum::fold(checksum::sum(&header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The length of the header.
pub(super) const HEADER: usize = 14;

/// All stations.
pub(super) const BROADCAST: Mac = [0xff; 6];

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;

/// The hop limit that says that a packet was sent on this link (RFC 4861, 3.1).
pub(super) const ON_LINK: u8 = 255;

/// The bit of an address of several stations.
const GROUP: u8 = 1;
