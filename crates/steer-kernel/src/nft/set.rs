//! Lists of networks, ports and ids as sorted intervals, and the sets that hold them.

use std::net::IpAddr;

use steer_core::address::{Cidr, Family, IdRange, PortRange};

use super::expr::IFNAMSIZ;
use super::wire::{Attrs, NLM_F_CREATE, NLM_F_EXCL, Request};
use super::{NFPROTO_INET, socket::Batch};

mod counts;
mod named;

pub(crate) use self::counts::{Count, Counts};
pub(crate) use self::named::Sets;

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Address(Family),
    Port,
    Uid,
    Gid,
}

/// Values of one key: sorted, disjoint, not adjacent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intervals {
    pub(crate) key: Key,
    ranges: Vec<(u128, u128)>,
}

impl Key {
    /// Bytes of a value.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::Address(family) => family.bits() as usize / 8,
            Self::Port => 2,
            Self::Uid | Self::Gid => 4,
        }
    }

    pub(crate) const fn max(self) -> u128 {
        u128::MAX >> (128 - 8 * self.width())
    }

    /// A value in network order.
    pub(crate) fn bytes(self, value: u128) -> Vec<u8> {
        value.to_be_bytes()[16 - self.width()..].to_vec()
    }

    /// The number by which the nft program knows the type, so that it can print the set.
    const fn data_type(self) -> u32 {
        match self {
            Self::Address(Family::V4) => 7,
            Self::Address(Family::V6) => 8,
            Self::Port => 13,
            Self::Uid => 24,
            Self::Gid => 25,
        }
    }

    /// The byte order in which the nft program prints the type: 1 the host's, 2 the network's.
    const fn byte_order(self) -> u32 {
        match self {
            Self::Address(_) | Self::Port => 2,
            Self::Uid | Self::Gid => 1,
        }
    }
}

impl Intervals {
    /// Networks of one family; those of the other are left out.
    pub(crate) fn of_networks(family: Family, nets: &[Cidr]) -> Self {
        let ranges = nets.iter().filter(|net| net.family() == family).map(|net| {
            let low = match net.address() {
                IpAddr::V4(ip) => u128::from(ip.to_bits()),
                IpAddr::V6(ip) => ip.to_bits(),
            };
            let host_bits = u32::from(family.bits() - net.prefix());
            (low, low | !u128::MAX.checked_shl(host_bits).unwrap_or(0))
        });
        Self::new(Key::Address(family), ranges.collect())
    }

    pub(crate) fn of_ports(ports: &[PortRange]) -> Self {
        let ranges = ports.iter().map(|r| (r.first().into(), r.last().into()));
        Self::new(Key::Port, ranges.collect())
    }

    pub(crate) fn of_ids(key: Key, ids: &[IdRange]) -> Self {
        let ranges = ids.iter().map(|r| (r.first().into(), r.last().into()));
        Self::new(key, ranges.collect())
    }

    fn new(key: Key, mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                // Overlapping or adjacent; the kernel refuses sets whose intervals overlap.
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self {
            key,
            ranges: merged,
        }
    }

    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.ranges
    }

    /// Whether every value is inside, so that nothing has to be asked.
    pub(crate) fn is_everything(&self) -> bool {
        self.ranges == [(0, self.key.max())]
    }

    /// Adds the messages that make a set of these in a table, under a name; `id` is its number in
    /// the batch.
    pub(super) fn push_set(&self, batch: &mut Batch, (table, name): (&str, &str), id: u32) {
        let elements = self.elements();
        let shape = Shape {
            flags: CONSTANT | INTERVAL,
            data_type: self.key.data_type(),
            width: self.key.width(),
            byte_order: self.key.byte_order(),
        };
        shape.push(batch, (table, name), id, &elements, |element, out| {
            element.encode(self.key, out);
        });
    }

    fn elements(&self) -> Vec<Element> {
        let mut elements = Vec::with_capacity(self.ranges.len() * 2 + 1);
        if self.ranges.first().is_some_and(|(first, _)| *first > 0) {
            // The nft program puts this mark in front and expects it when it prints.
            elements.push(Element::End(0));
        }
        for (first, last) in &self.ranges {
            if *last == self.key.max() {
                elements.push(Element::OpenStart(*first));
            } else {
                elements.push(Element::Start(*first));
                elements.push(Element::End(last + 1));
            }
        }
        elements
    }
}

/// Adds the messages that make a set of interface names, padded to the kernel's length; the one
/// rule that looks it up must follow in the batch. Such a set is never empty to its rule: it has no
/// intervals, and each element counts from the moment from which the rule does.
pub(crate) fn push_names(names: &[[u8; IFNAMSIZ]], batch: &mut Batch, table: &str, id: u32) {
    let shape = Shape {
        flags: ANONYMOUS | CONSTANT,
        data_type: TYPE_IFNAME,
        width: IFNAMSIZ,
        byte_order: 1,
    };
    shape.push(batch, (table, SET_TEMPLATE), id, names, |name, out| {
        out.nest(ELEM_KEY, |nest| {
            nest.bytes(DATA_VALUE, name);
        });
    });
}

/// What a set is made as; the last two are for the nft program, which prints it.
struct Shape {
    flags: u32,
    width: usize,
    data_type: u32,
    byte_order: u32,
}

impl Shape {
    fn push<T>(
        &self,
        batch: &mut Batch,
        (table, name): (&str, &str),
        id: u32,
        elements: &[T],
        encode: impl Fn(&T, &mut Attrs),
    ) {
        let mut set = Attrs::new();
        set.text(SET_TABLE, table)
            .text(SET_NAME, name)
            .u32(SET_FLAGS, self.flags)
            .u32(SET_KEY_TYPE, self.data_type)
            .u32(SET_KEY_LEN, self.width as u32)
            .u32(SET_ID, id)
            .bytes(SET_USERDATA, &udata_u32(0, self.byte_order));
        batch.push(
            Request::nft(NEWSET, NLM_F_CREATE | NLM_F_EXCL, NFPROTO_INET, set),
            format!("make set {table} {name}"),
        );
        for chunk in elements.chunks(ELEMENTS_A_MESSAGE) {
            let mut list = Attrs::new();
            list.text(LIST_TABLE, table)
                .text(LIST_SET, name)
                .u32(LIST_SET_ID, id)
                .nest(LIST_ELEMENTS, |nest| {
                    for element in chunk {
                        nest.nest(LIST_ELEM, |out| encode(element, out));
                    }
                });
            batch.push(
                Request::nft(NEWSETELEM, NLM_F_CREATE, NFPROTO_INET, list),
                format!("fill set {table} {name}"),
            );
        }
    }
}

/// A boundary of an interval.
enum Element {
    /// The first value inside.
    Start(u128),
    /// The first value inside of an interval that reaches the type's last value.
    OpenStart(u128),
    /// The first value behind.
    End(u128),
}

impl Element {
    fn encode(&self, key: Key, out: &mut Attrs) {
        let value = match self {
            Self::Start(value) | Self::OpenStart(value) | Self::End(value) => *value,
        };
        match self {
            Self::Start(_) => {}
            Self::OpenStart(_) => {
                out.bytes(ELEM_USERDATA, &udata_u32(1, 1));
            }
            Self::End(_) => {
                out.u32(ELEM_FLAGS, INTERVAL_END);
            }
        }
        out.nest(ELEM_KEY, |nest| {
            nest.bytes(DATA_VALUE, &key.bytes(value));
        });
    }
}

/// A number as the nft program stores it beside an object, in the host's byte order.
fn udata_u32(kind: u8, value: u32) -> Vec<u8> {
    let mut out = vec![kind, 4];
    out.extend_from_slice(&value.to_ne_bytes());
    out
}

/// The name under which a set of one rule is made; the kernel puts a number for `%d`.
pub(crate) const SET_TEMPLATE: &str = "__set%d";
/// Keeps a list of elements below the 64 KiB that an attribute can hold.
const ELEMENTS_A_MESSAGE: usize = 1000;
/// The number by which the nft program knows names of interfaces.
const TYPE_IFNAME: u32 = 41;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_ID: u16 = 10;
const SET_USERDATA: u16 = 13;
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_SET_ID: u16 = 4;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_FLAGS: u16 = 3;
const ELEM_USERDATA: u16 = 6;
const INTERVAL_END: u32 = 1;
const DATA_VALUE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_adjacent_networks_become_one_interval() {
        let nets = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "192.0.2.1/32"];
        let nets: Vec<Cidr> = nets.iter().map(|n| n.parse().unwrap()).collect();
        let merged = Intervals::of_networks(Family::V4, &nets);
        assert_eq!(
            merged.ranges(),
            [(0x0a00_0000, 0x0bff_ffff), (0xc000_0201, 0xc000_0201)]
        );
    }

    #[test]
    fn two_halves_of_the_address_space_are_everything() {
        let nets: Vec<Cidr> = ["::/1", "8000::/1"].map(|n| n.parse().unwrap()).into();
        assert!(Intervals::of_networks(Family::V6, &nets).is_everything());
        let all = [Cidr::all(Family::V6)];
        assert!(Intervals::of_networks(Family::V6, &all).is_everything());
        assert!(Intervals::of_networks(Family::V4, &[Cidr::all(Family::V4)]).is_everything());
        assert!(Intervals::of_networks(Family::V4, &all).ranges().is_empty());
    }
}
