//! The front of a packet: the headers, where the payload lies elsewhere.

use std::net::{IpAddr, SocketAddr};

use steer_core::address::Family;

use super::super::{Parsed, Transport, checksum};

/// The two ends of a packet, which are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

/// The headers of a packet, without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    room: [u8; LONGEST],
    length: usize,
}

/// What the checksum field of a transport holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The sum of the pseudo header: the wire completes it.
    Partial,
    /// Everything, where the payload has this sum ([`checksum::sum`]).
    Whole(u64),
}

/// How many hops a packet of ours may make.
pub const HOPS: u8 = 64;

impl Ends {
    /// From one address to another; `None` where their families differ.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        (Family::of(source) == Family::of(destination)).then_some(Self {
            source,
            destination,
        })
    }

    /// The way back of a packet.
    #[must_use]
    pub const fn back(parsed: &Parsed) -> Self {
        // A packet's addresses are of its family.
        Self {
            source: parsed.destination,
            destination: parsed.source,
        }
    }

    /// The one it is from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// The one it goes to.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The family of both.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// The sum of the pseudo header of so many bytes.
    #[must_use]
    pub fn pseudo(&self, transport: Transport, length: usize) -> u64 {
        let number = transport.number(self.family());
        checksum::pseudo(self.source, self.destination, number, length)
    }
}

impl Head {
    /// An IP header before so many bytes; `None` where they are more than a packet holds.
    ///
    /// Where `cut` is written, routers may cut an IPv4 packet, whose parts they give that number.
    #[must_use]
    pub fn ip(
        ends: Ends,
        transport: Transport,
        hops: u8,
        cut: Option<u16>,
        payload: usize,
    ) -> Option<Self> {
        let number = transport.number(ends.family());
        let mut head = Self::empty();
        match (ends.source, ends.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = u16::try_from(payload + V4).ok()?;
                head.add(&[0x45, 0]);
                head.add(&total.to_be_bytes());
                head.add(&cut.unwrap_or(0).to_be_bytes());
                head.add(&[if cut.is_some() { 0 } else { DONT_FRAGMENT }, 0]);
                head.add(&[hops, number, 0, 0]);
                head.add(&source.octets());
                head.add(&destination.octets());
                head.sum_v4();
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = u16::try_from(payload).ok()?;
                head.add(&[0x60, 0, 0, 0]);
                head.add(&length.to_be_bytes());
                head.add(&[number, hops]);
                head.add(&source.octets());
                head.add(&destination.octets());
            }
            _ => unreachable!("both ends are of one family"),
        }
        Some(head)
    }

    /// The headers of a datagram with so many bytes; `None` where they are more than a packet holds,
    /// or the ends are of two families.
    #[must_use]
    pub fn udp(
        from: SocketAddr,
        to: SocketAddr,
        cut: Option<u16>,
        length: usize,
        sum: Sum,
    ) -> Option<Self> {
        let ends = Ends::new(from.ip(), to.ip())?;
        let mut head = Self::ip(ends, Transport::Udp, HOPS, cut, length + UDP)?;
        head.add(&Self::udp_header(
            ends,
            from.port(),
            to.port(),
            length,
            sum,
        )?);
        Some(head)
    }

    /// The header of a datagram alone.
    #[must_use]
    pub fn udp_header(
        ends: Ends,
        from: u16,
        to: u16,
        length: usize,
        sum: Sum,
    ) -> Option<[u8; UDP]> {
        let whole = length + UDP;
        let [a, b] = from.to_be_bytes();
        let [c, d] = to.to_be_bytes();
        let [e, f] = u16::try_from(whole).ok()?.to_be_bytes();
        let pseudo = ends.pseudo(Transport::Udp, whole);
        let field = match sum {
            Sum::Partial => checksum::fold(pseudo),
            Sum::Whole(payload) => {
                let sum = pseudo + checksum::sum(&[a, b, c, d, e, f]) + payload;
                // Zero says that there is none.
                match !checksum::fold(sum) {
                    0 => 0xffff,
                    sum => sum,
                }
            }
        };
        let [g, h] = field.to_be_bytes();
        Some([a, b, c, d, e, f, g, h])
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        self.length
    }

    const fn empty() -> Self {
        Self {
            room: [0; LONGEST],
            length: 0,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.room[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    /// Says where in its packet a fragment is. The header is one of [`Head::ip`].
    pub(super) fn place(&mut self, family: Family, transport: Transport, place: Place) {
        let Place { id, offset, more } = place;
        let offset = u16::try_from(offset).expect("within a packet");
        match family {
            Family::V4 => {
                let word = (offset / 8) | if more { MORE_V4 } else { 0 };
                self.room[4..6].copy_from_slice(&(id as u16).to_be_bytes());
                self.room[6..8].copy_from_slice(&word.to_be_bytes());
                self.sum_v4();
            }
            Family::V6 => {
                self.room[6] = FRAGMENT_HEADER;
                let [a, b] = (offset | u16::from(more)).to_be_bytes();
                let [c, d, e, f] = id.to_be_bytes();
                self.add(&[transport.number(family), 0, a, b, c, d, e, f]);
            }
        }
    }

    fn sum_v4(&mut self) {
        self.room[10..12].fill(0);
        let sum = !checksum::fold(checksum::sum(&self.room[..V4]));
        self.room[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where in its packet a fragment is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: u32,
    pub(super) offset: usize,
    pub(super) more: bool,
}

/// An IPv6 header with that of UDP, or of a fragment.
const LONGEST: usize = 48;
const V4: usize = 20;
const UDP: usize = 8;
const DONT_FRAGMENT: u8 = 0x40;
const MORE_V4: u16 = 0x2000;
const FRAGMENT_HEADER: u8 = 44;
