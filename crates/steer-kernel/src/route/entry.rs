//! Routes as netlink says them (`struct rtmsg`, rtnetlink(7)).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use steer_core::address::{Cidr, Family};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::{LOCAL_TABLE, Leads, MAIN_TABLE, ROUTE_PROTOCOL, Route, token_net};
use steer_core::symbol::{FIRST_TABLE, TableRef};

use super::{af, family};
use crate::netlink::message::{Body, Message, number};

/// A route of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) family: Family,
    pub(super) net: Option<Cidr>,
    pub(super) table: u32,
    pub(super) metric: u32,
    pub(super) out: Option<u32>,
    protocol: u8,
    kind: u8,
    pub(super) via: Option<IpAddr>,
    /// Whether it says more than has a field here.
    more: bool,
}

/// The request that makes or removes a route, `out` being the index of the device that it leads to;
/// `None` while its table has no number.
pub(super) fn request(route: &Route, metric: u32, out: Option<u32>) -> Option<Body> {
    let Route {
        family,
        net,
        table,
        to,
    } = route;
    let table = table.number()?;
    // Scopes have no meaning to IPv6.
    let (kind, scope, flags) = match (to, family) {
        (Leads::Here, Family::V4) => (RTN_LOCAL, RT_SCOPE_HOST, 0),
        (Leads::Here, Family::V6) => (RTN_LOCAL, RT_SCOPE_UNIVERSE, 0),
        (Leads::Device { via: None, .. }, _) => (RTN_UNICAST, RT_SCOPE_LINK, 0),
        // The neighbour need not be in a network that is reached by the device.
        (Leads::Device { via: Some(_), .. }, _) => (RTN_UNICAST, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK),
        (Leads::Nowhere, _) => (RTN_UNREACHABLE, RT_SCOPE_UNIVERSE, 0),
    };
    // A `struct rtmsg`: family, two prefix lengths, tos, table, protocol, scope, type, flags.
    let mut header = [0; HEADER];
    header[0] = af(*family);
    header[1] = net.map_or(0, Cidr::prefix);
    header[5] = ROUTE_PROTOCOL;
    header[6] = scope;
    header[7] = kind;
    header[8..].copy_from_slice(&u32::to_ne_bytes(flags));
    let body = Body::new(&header).number(RTA_TABLE, table);
    let body = match net.map(Cidr::address) {
        None => body,
        Some(ip) => address(body, RTA_DST, ip),
    };
    Some(match to {
        Leads::Here => {
            let body = body.number(RTA_OIF, LOOPBACK);
            match net.map(Cidr::address) {
                None => body,
                Some(IpAddr::V4(_)) => body.number(RTA_PRIORITY, metric),
                // With a source of its own, as 127.0.0.1 is in IPv4: from another address of this
                // host a client could have the port that the engine's own dial to the same server
                // has.
                Some(IpAddr::V6(_)) => body
                    .attr(RTA_PREFSRC, &Ipv6Addr::LOCALHOST.octets())
                    .number(RTA_PRIORITY, metric),
            }
        }
        Leads::Device { name: _, via } => {
            let body = body.number(RTA_OIF, out?);
            match via {
                Some(via) => address(body, RTA_GATEWAY, *via),
                None => body,
            }
        }
        Leads::Nowhere => body.number(RTA_PRIORITY, NOWHERE_METRIC),
    })
}

/// What tells an instance's routes in a table that is nobody's own from those of others: FNV-1a of
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
    let mut header = [0; HEADER];
    header[0] = af(family);
    header[5] = ROUTE_PROTOCOL;
    Body::new(&header)
}

/// A route of the list.
pub(super) fn read(message: Message<'_>) -> Option<Entry> {
    let [
        of,
        to,
        from,
        tos,
        table,
        protocol,
        _scope,
        kind,
        _flags @ ..,
    ] = *message.body.first_chunk::<HEADER>()?;
    let mut entry = Entry {
        family: family(of)?,
        net: None,
        table: u32::from(table),
        metric: 0,
        out: None,
        protocol,
        kind,
        via: None,
        more: from != 0 || tos != 0,
    };
    for (kind, data) in message.attrs(HEADER) {
        match kind {
            RTA_TABLE => entry.table = number(data),
            RTA_OIF => entry.out = Some(number(data)),
            RTA_PRIORITY => entry.metric = number(data),
            RTA_DST => entry.net = cidr(data, to),
            RTA_GATEWAY => entry.via = ip(data),
            RTA_MULTIPATH | RTA_ENCAP | RTA_NH_ID => entry.more = true,
            _ => {}
        }
    }
    entry.more |= entry.net.is_none() && to != 0;
    Some(entry)
}

impl Entry {
    /// Whether it leads to a device of which the name has to be known.
    pub(super) const fn leads_to_a_device(&self) -> bool {
        self.kind == RTN_UNICAST && self.protocol == ROUTE_PROTOCOL
    }

    /// Whether it carries the number of our routes.
    pub(super) const fn has_our_number(&self) -> bool {
        self.protocol == ROUTE_PROTOCOL
    }

    /// Whether others have it in the table `main`, for what nothing more special is said of.
    pub(super) const fn is_default_of_others(&self) -> bool {
        self.net.is_none()
            && self.kind == RTN_UNICAST
            && self.table == MAIN_TABLE
            && !self.has_our_number()
    }

    /// The route as one of ours, where it is exactly what we make.
    pub(super) fn ours(&self, names: &BTreeMap<u32, String>) -> Option<Route> {
        let &Self {
            family,
            net,
            table,
            metric,
            out,
            protocol,
            kind,
            via,
            more,
        } = self;
        if protocol != ROUTE_PROTOCOL || more {
            return None;
        }
        let own = (FIRST_TABLE..FIRST_TABLE + u32::from(Mark::SLOTS)).contains(&table);
        let to = match kind {
            // Of networks, this one alone, and in no table of ours.
            RTN_LOCAL if net.is_some() => {
                let tokens = net == Some(token_net(family)) && table == LOCAL_TABLE;
                (tokens && out == Some(LOOPBACK)).then_some(Leads::Here)
            }
            RTN_LOCAL => (out == Some(LOOPBACK)).then_some(Leads::Here),
            // Where a network is the command's own, the table `main` is ours too.
            RTN_UNICAST if (own || table == MAIN_TABLE) && metric == default_metric(family) => {
                let name = names.get(&out?)?.clone();
                Some(Leads::Device { name, via })
            }
            RTN_UNREACHABLE if own && metric == NOWHERE_METRIC => Some(Leads::Nowhere),
            _ => None,
        };
        Some(Route {
            family,
            net,
            table: TableRef::Fixed(table),
            to: to?,
        })
    }
}

/// What the kernel gives a route that asks for no metric.
const fn default_metric(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => IP6_RT_PRIO_USER,
    }
}

fn address(body: Body, kind: u16, ip: IpAddr) -> Body {
    match ip {
        IpAddr::V4(ip) => body.attr(kind, &ip.octets()),
        IpAddr::V6(ip) => body.attr(kind, &ip.octets()),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    Some(match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    })
}

fn cidr(address: &[u8], prefix: u8) -> Option<Cidr> {
    format!("{}/{prefix}", ip(address)?).parse().ok()
}

const HEADER: usize = 12;
/// The index of `lo`, in every namespace.
const LOOPBACK: u32 = 1;
/// More than any route that leads somewhere, and less than the kernel's own last resort.
const NOWHERE_METRIC: u32 = 4_000_000;
const IP6_RT_PRIO_USER: u32 = 1024;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_UNREACHABLE: u8 = 7;
const RTNH_F_ONLINK: u32 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
