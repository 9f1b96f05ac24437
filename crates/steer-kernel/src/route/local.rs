//! Local routes as netlink says them (`struct rtmsg`, rtnetlink(7)).

use std::net::{IpAddr, Ipv6Addr};

use steer_core::address::{Cidr, Family};
use steer_core::instance::Instance;
use steer_core::object::{LOCAL_TABLE, Leads, ROUTE_PROTOCOL, Route, token_net};
use steer_core::symbol::TableRef;

use super::{af, family};
use crate::netlink::message::{Body, Message, number};

/// The request that makes or removes a route; `None` while its table has no number.
pub(super) fn request(route: &Route, metric: u32) -> Option<Body> {
    let table = route.table.number()?;
    if route.to != Leads::Here {
        return None;
    }
    let header = Header {
        family: route.family,
        scope: match route.family {
            Family::V4 => RT_SCOPE_HOST,
            // Of no meaning to IPv6.
            Family::V6 => RT_SCOPE_UNIVERSE,
        },
        to: route.net.map_or(0, Cidr::prefix),
        kind: RTN_LOCAL,
    };
    let body = Body::new(&header.bytes())
        .number(RTA_OIF, LOOPBACK)
        .number(RTA_TABLE, table);
    let body = match route.net.map(Cidr::address) {
        None => return Some(body),
        Some(IpAddr::V4(ip)) => body.attr(RTA_DST, &ip.octets()),
        // With a source of its own, as 127.0.0.1 is in IPv4: from another address of this host a
        // client could have the port that the engine's own dial to the same server has.
        Some(IpAddr::V6(ip)) => body
            .attr(RTA_DST, &ip.octets())
            .attr(RTA_PREFSRC, &Ipv6Addr::LOCALHOST.octets()),
    };
    Some(body.number(RTA_PRIORITY, metric))
}

/// What tells an instance's routes to a network from those of others in the same table: FNV-1a of
/// its name, and not 0, which would mean the kernel's default.
pub(super) fn metric(instance: &Instance) -> u32 {
    let bytes = instance.as_str().bytes();
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

/// The request that lists the routes of a family with our protocol number.
pub(super) fn all(family: Family) -> Body {
    let header = Header {
        family,
        scope: RT_SCOPE_UNIVERSE,
        to: 0,
        kind: 0,
    };
    Body::new(&header.bytes())
}

/// A route of the list with its metric, where it is exactly what we make.
pub(super) fn read(message: Message<'_>) -> Option<(Route, u32)> {
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
    let of = family(of)?;
    let (mut table, mut out, mut net, mut metric) = (u32::from(table), None, None, 0);
    for (kind, data) in message.attrs(HEADER) {
        match kind {
            RTA_TABLE => table = number(data),
            RTA_OIF => out = Some(number(data)),
            RTA_PRIORITY => metric = number(data),
            RTA_DST => net = cidr(data, to),
            _ => {}
        }
    }
    let ours = protocol == ROUTE_PROTOCOL && kind == RTN_LOCAL && from == 0;
    // Of networks, this one alone, and in no table of ours.
    let whole = net.is_none() && to == 0;
    let tokens = net == Some(token_net(of)) && table == LOCAL_TABLE;
    (ours && (whole || tokens) && out == Some(LOOPBACK)).then_some((
        Route {
            family: of,
            net,
            table: TableRef::Fixed(table),
            to: Leads::Here,
        },
        metric,
    ))
}

fn cidr(address: &[u8], prefix: u8) -> Option<Cidr> {
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    format!("{address}/{prefix}").parse().ok()
}

struct Header {
    family: Family,
    scope: u8,
    to: u8,
    kind: u8,
}

impl Header {
    /// A `struct rtmsg`: family, two prefix lengths, tos, table, protocol, scope, type, flags.
    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = af(self.family);
        bytes[1] = self.to;
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
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
