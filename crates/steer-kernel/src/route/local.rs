//! Local routes as netlink says them (`struct rtmsg`, rtnetlink(7)).

use steer_core::address::Family;
use steer_core::object::{LocalRoute, ROUTE_PROTOCOL};
use steer_core::symbol::TableRef;

use super::{af, family};
use crate::netlink::message::{Body, Message, number};

/// The request that makes or removes a route; `None` while its table has no number.
pub(super) fn request(route: &LocalRoute) -> Option<Body> {
    let table = route.table.number()?;
    let header = Header {
        family: route.family,
        scope: match route.family {
            Family::V4 => RT_SCOPE_HOST,
            // Of no meaning to IPv6.
            Family::V6 => RT_SCOPE_UNIVERSE,
        },
        kind: RTN_LOCAL,
    };
    Some(
        Body::new(&header.bytes())
            .number(RTA_OIF, LOOPBACK)
            .number(RTA_TABLE, table),
    )
}

/// The request that lists the routes of a family with our protocol number.
pub(super) fn all(family: Family) -> Body {
    let header = Header {
        family,
        scope: RT_SCOPE_UNIVERSE,
        kind: 0,
    };
    Body::new(&header.bytes())
}

/// A route of the list, where it is exactly what we make.
pub(super) fn read(message: Message<'_>) -> Option<LocalRoute> {
    let [
        of,
        to,
        from,
        _tos,
        table,
        protocol,
        _scope,
        kind,
        _flags @ ..,
    ] = *message.body.first_chunk::<HEADER>()?;
    let (mut table, mut out) = (u32::from(table), None);
    for (kind, data) in message.attrs(HEADER) {
        match kind {
            RTA_TABLE => table = number(data),
            RTA_OIF => out = Some(number(data)),
            _ => {}
        }
    }
    let ours = protocol == ROUTE_PROTOCOL && kind == RTN_LOCAL && (to, from) == (0, 0);
    (ours && out == Some(LOOPBACK)).then_some(LocalRoute {
        family: family(of)?,
        net: None,
        table: TableRef::Fixed(table),
    })
}

struct Header {
    family: Family,
    scope: u8,
    kind: u8,
}

impl Header {
    /// A `struct rtmsg`: family, two prefix lengths, tos, table, protocol, scope, type, flags.
    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = af(self.family);
        bytes[5] = ROUTE_PROTOCOL;
        bytes[6] = self.scope;
        bytes[7] = self.kind;
        bytes
    }
}

const HEADER: usize = 12;
/// The index of `lo`, in every namespace.
const LOOPBACK: u32 = 1;
const RTN_LOCAL: u8 = 2;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
