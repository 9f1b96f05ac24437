//! Named sets that rules fill: packets counted by protocol, or by protocol, destination and port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steer_core::address::Family;

use super::super::socket::{Batch, Netlink, Refused};
use super::super::wire::{Attrs, NLM_F_CREATE, Request, attrs};
use super::{
    DATA_VALUE, ELEM_KEY, LIST_ELEMENTS, LIST_SET, LIST_TABLE, NEWSET, NFPROTO_INET, SET_FLAGS,
    SET_ID, SET_KEY_LEN, SET_KEY_TYPE, SET_NAME, SET_TABLE,
};

/// What a set counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// The number of the transport protocol.
    Protocol,
    /// That, the destination of a family, and the port.
    Destination(Family),
}

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// The number of the transport protocol.
    pub(crate) protocol: u8,
    /// The destination, where it is counted by that.
    pub(crate) destination: Option<IpAddr>,
    /// The port; 0 where the protocol has none.
    pub(crate) port: u16,
    /// Packets.
    pub(crate) packets: u64,
}

impl Counts {
    /// Adds the messages that make an empty set; `id` is its number in the batch.
    pub(crate) fn push(self, batch: &mut Batch, table: &str, name: &str, id: u32) {
        let mut set = Attrs::new();
        set.text(SET_TABLE, table)
            .text(SET_NAME, name)
            .u32(SET_FLAGS, EVALUATED)
            .u32(SET_KEY_TYPE, self.data_type())
            .u32(SET_KEY_LEN, self.width() as u32)
            .u32(SET_ID, id)
            .nest(SET_DESC, |nest| {
                nest.u32(DESC_SIZE, MOST);
            });
        batch.push(
            Request::nft(NEWSET, NLM_F_CREATE, NFPROTO_INET, set),
            format!("make set {table} {name}"),
        );
    }

    /// What a standing set has counted.
    pub(crate) fn read(
        self,
        netlink: &mut Netlink,
        table: &str,
        name: &str,
    ) -> Result<Vec<Count>, Refused> {
        let mut of = Attrs::new();
        of.text(LIST_TABLE, table).text(LIST_SET, name);
        let mut found = Vec::new();
        netlink.dump(GETSETELEM, NFPROTO_INET, of, "read the counters", |reply| {
            let lists = reply.attrs().filter(|(kind, _)| *kind == LIST_ELEMENTS);
            for (_, list) in lists {
                found.extend(attrs(list).filter_map(|(_, element)| self.count(element)));
            }
        })?;
        Ok(found)
    }

    fn count(self, element: &[u8]) -> Option<Count> {
        let inner = |bytes, wanted| attrs(bytes).find(|(kind, _)| *kind == wanted).map(|a| a.1);
        let key = inner(inner(element, ELEM_KEY)?, DATA_VALUE)?;
        let counter = inner(inner(element, ELEM_EXPR)?, EXPR_DATA)?;
        let packets = inner(counter, COUNTER_PACKETS)?.try_into().ok()?;
        let (destination, port) = match self {
            Self::Protocol => (None, 0),
            Self::Destination(family) => {
                let end = 4 + usize::from(family.bits()) / 8;
                let address = key.get(4..end)?;
                let address: IpAddr = match family {
                    Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into(),
                    Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
                };
                let port = u16::from_be_bytes(key.get(end..end + 2)?.try_into().ok()?);
                (Some(address), port)
            }
        };
        Some(Count {
            protocol: *key.first()?,
            destination,
            port,
            packets: u64::from_be_bytes(packets),
        })
    }

    /// Each part of a key takes whole words.
    const fn width(self) -> usize {
        match self {
            Self::Protocol => 1,
            Self::Destination(family) => 4 + family.bits() as usize / 8 + 4,
        }
    }

    /// By which the nft program prints the set: six bits a part.
    const fn data_type(self) -> u32 {
        match self {
            Self::Protocol => TYPE_PROTOCOL,
            Self::Destination(family) => {
                let address = match family {
                    Family::V4 => TYPE_IPV4,
                    Family::V6 => TYPE_IPV6,
                };
                TYPE_PROTOCOL << 12 | address << 6 | TYPE_PORT
            }
        }
    }
}

/// Counters that a set has room for.
const MOST: u32 = 0xffff;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PORT: u32 = 13;
/// `NFT_SET_EVAL`: rules change it.
const EVALUATED: u32 = 0x20;
const GETSETELEM: u16 = 13;
const SET_DESC: u16 = 9;
const DESC_SIZE: u16 = 1;
const ELEM_EXPR: u16 = 7;
const EXPR_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;
