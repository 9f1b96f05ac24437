//! Policy routing rules as netlink says them (`linux/fib_rules.h`).

use std::fmt;
use std::net::IpAddr;

use nix::libc;
use steer_core::address::{Cidr, Family};
use steer_core::mark::Mark;
use steer_core::object::{PolicyRule, ROUTE_PROTOCOL};
use steer_core::symbol::{MarkRef, TableRef};

use super::{af, family};
use crate::netlink::message::{Body, Message, number, text};

/// A rule as it stands, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) family: Family,
    pub(crate) priority: u32,
    pub(crate) mark: Option<Mark>,
    protocol: u8,
    action: u8,
    table: u32,
    from: Option<Cidr>,
    to: Option<Cidr>,
    iif: Option<String>,
    oif: Option<String>,
    inverted: bool,
    /// Whether it asks for something that has no field here.
    more: bool,
}

/// The request that makes or removes a rule; `None` while symbols have no value.
pub(super) fn request(rule: &PolicyRule) -> Option<Body> {
    let (table, mark) = (rule.table.number()?, rule.mark.bits()?);
    let body = Body::new(&header(rule.family, FR_ACT_TO_TBL))
        .number(FRA_PRIORITY, rule.priority()?)
        .number(FRA_TABLE, table)
        .number(FRA_FWMARK, mark.value)
        .number(FRA_FWMASK, mark.mask)
        .attr(FRA_PROTOCOL, &[ROUTE_PROTOCOL]);
    Some(match &rule.interface {
        Some(name) => body.text(FRA_IIFNAME, name),
        None => body,
    })
}

/// The request that lists the rules of a family.
pub(super) fn all(family: Family) -> Body {
    Body::new(&header(family, 0))
}

/// A `struct fib_rule_hdr`: family, two prefix lengths, tos, table, two reserved bytes, action,
/// flags.
fn header(family: Family, action: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = af(family);
    header[7] = action;
    header
}

/// A rule of the list.
pub(super) fn read(message: Message<'_>) -> Option<Seen> {
    let [
        of,
        to_length,
        from_length,
        tos,
        table,
        _,
        _,
        action,
        flags @ ..,
    ] = *message.body.first_chunk::<HEADER>()?;
    let mut seen = Seen {
        family: family(of)?,
        priority: 0,
        mark: None,
        protocol: 0,
        action,
        table: u32::from(table),
        from: None,
        to: None,
        iif: None,
        oif: None,
        inverted: u32::from_ne_bytes(flags) & FIB_RULE_INVERT != 0,
        more: tos != 0,
    };
    let (mut value, mut mask) = (0, None);
    for (kind, data) in message.attrs(HEADER) {
        match kind {
            FRA_PRIORITY => seen.priority = number(data),
            FRA_TABLE => seen.table = number(data),
            FRA_FWMARK => value = number(data),
            FRA_FWMASK => mask = Some(number(data)),
            FRA_PROTOCOL => seen.protocol = data.first().copied().unwrap_or_default(),
            FRA_SRC => seen.from = network(data, from_length),
            FRA_DST => seen.to = network(data, to_length),
            FRA_IIFNAME => seen.iif = Some(text(data)),
            FRA_OIFNAME => seen.oif = Some(text(data)),
            // Given with every rule; -1 says that nothing is suppressed.
            FRA_SUPPRESS_PREFIXLEN | FRA_SUPPRESS_IFGROUP => seen.more |= number(data) != u32::MAX,
            FRA_PAD => {}
            _ => seen.more = true,
        }
    }
    seen.mark = match mask {
        Some(mask) if mask != 0 => Some(Mark { value, mask }),
        _ if value != 0 => Some(Mark {
            value,
            mask: u32::MAX,
        }),
        _ => None,
    };
    Some(seen)
}

impl Seen {
    /// The rule as one of ours, where it is exactly what we make.
    pub(super) fn ours(&self) -> Option<PolicyRule> {
        let Self {
            family,
            priority,
            mark,
            protocol,
            action,
            table,
            from,
            to,
            iif,
            oif,
            inverted,
            more,
        } = self;
        let plain = *protocol == ROUTE_PROTOCOL
            && *action == FR_ACT_TO_TBL
            && from.is_none()
            && to.is_none()
            && oif.is_none()
            && !inverted
            && !more;
        let rule = PolicyRule {
            family: *family,
            mark: MarkRef::Fixed((*mark)?),
            interface: iif.clone(),
            table: TableRef::Fixed(*table),
        };
        (plain && rule.priority() == Some(*priority)).then_some(rule)
    }

    /// Whether it is one of others that is asked before one of ours, and can take what ours is for.
    pub(super) fn is_before(&self, ours: &PolicyRule) -> bool {
        let looks_local_up = self.action == FR_ACT_TO_TBL && self.table == RT_TABLE_LOCAL;
        let does_nothing = self.action == FR_ACT_NOP;
        let (Some(priority), Some(mark)) = (ours.priority(), ours.mark.bits()) else {
            return false;
        };
        let meets = |seen: Mark| {
            let shared = seen.mask & mark.mask;
            seen.value & shared == mark.value & shared
        };
        let meets_mark = self.inverted || self.mark.is_none_or(meets);
        let meets_interface = match (&self.iif, &ours.interface) {
            (Some(seen), Some(own)) => self.inverted || seen == own,
            _ => true,
        };
        self.is_foreign()
            && self.priority < priority
            && meets_mark
            && meets_interface
            && !looks_local_up
            && !does_nothing
    }

    /// Whether others made it, and not the kernel for itself.
    pub(crate) const fn is_foreign(&self) -> bool {
        self.protocol != ROUTE_PROTOCOL && self.protocol != RTPROT_KERNEL
    }
}

/// The rule as `ip rule` shows it.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family: _,
            priority,
            mark,
            protocol: _,
            action,
            table,
            from,
            to,
            iif,
            oif,
            inverted,
            more,
        } = self;
        write!(f, "{priority}:{}", if *inverted { " not" } else { "" })?;
        match from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = to {
            write!(f, " to {to}")?;
        }
        if let Some(mark) = mark {
            write!(f, " fwmark {mark}")?;
        }
        for (word, name) in [("iif", iif), ("oif", oif)] {
            if let Some(name) = name {
                write!(f, " {word} {name}")?;
            }
        }
        if *more {
            f.write_str(" …")?;
        }
        match (*action, *table) {
            (FR_ACT_TO_TBL, RT_TABLE_LOCAL) => f.write_str(" lookup local"),
            (FR_ACT_TO_TBL, RT_TABLE_MAIN) => f.write_str(" lookup main"),
            (FR_ACT_TO_TBL, RT_TABLE_DEFAULT) => f.write_str(" lookup default"),
            (FR_ACT_TO_TBL, table) => write!(f, " lookup {table}"),
            (action, _) => f.write_str(match action {
                FR_ACT_GOTO => " goto",
                FR_ACT_NOP => " nop",
                FR_ACT_BLACKHOLE => " blackhole",
                FR_ACT_UNREACHABLE => " unreachable",
                FR_ACT_PROHIBIT => " prohibit",
                _ => " …",
            }),
        }
    }
}

fn network(data: &[u8], length: u8) -> Option<Cidr> {
    let ip: IpAddr = match data.len() {
        4 => <[u8; 4]>::try_from(data).ok()?.into(),
        _ => <[u8; 16]>::try_from(data).ok()?.into(),
    };
    format!("{ip}/{length}").parse().ok()
}

const HEADER: usize = 12;
const FIB_RULE_INVERT: u32 = 2;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const FR_ACT_BLACKHOLE: u8 = 6;
const FR_ACT_UNREACHABLE: u8 = 7;
const FR_ACT_PROHIBIT: u8 = 8;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PAD: u16 = 18;
const FRA_PROTOCOL: u16 = 21;
const RTPROT_KERNEL: u8 = 2;
const RT_TABLE_LOCAL: u32 = libc::RT_TABLE_LOCAL as u32;
const RT_TABLE_MAIN: u32 = libc::RT_TABLE_MAIN as u32;
const RT_TABLE_DEFAULT: u32 = libc::RT_TABLE_DEFAULT as u32;
