//! The driver of routes and policy rules: by netlink, without any program.
//!
//! Neither bears a name; both carry [`ROUTE_PROTOCOL`](steer_core::object::ROUTE_PROTOCOL), and
//! the table tells instances apart: while one lives, the slot that the table belongs to is claimed
//! in the namespace, and nobody else changes what is in it. What a crash leaves does nothing: no
//! packet carries the mark once the rules of the packet filter are gone. Routes in the table `local`,
//! which is nobody's own, several steerings have the same; there the metric tells them apart.
//! A route to a device goes with the device, and to remove one that is gone is success.

mod entry;
mod rule;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::object::{Domain, LOCAL_TABLE, Leads, Object, PolicyRule, Route};
use steer_core::plan::Netns;

use self::entry::Entry;
pub(crate) use self::rule::Seen;
use crate::device::link;
use crate::drivers::netns::within;
use crate::netlink::message::Body;
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, Netlink, Refused};

/// Puts routes and policy rules into the routing tables of a namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteDriver;

impl RouteDriver {
    /// A driver that opens a socket for every piece of work.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Driver for RouteDriver {
    fn domain(&self) -> Domain {
        Domain::Route
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let Change {
            instance,
            netns,
            from,
            to,
        } = *change;
        // What stands is asked of the kernel. All that carries our number in these tables is this
        // instance's or of one that is dead: those that live have claimed other slots.
        let tables: BTreeSet<u32> = from.iter().chain(to).filter_map(table).collect();
        let mut socket = open(netns)?;
        let standing = ours(&mut socket).map_err(|e| look(netns, e))?;
        let metric = entry::metric(instance);
        let of_ours = |(object, of): &&(Object, u32)| {
            table(object).is_some_and(|t| tables.contains(&t))
                && (!is_shared(object) || *of == metric)
        };
        let standing: Vec<&Object> = standing.iter().filter(of_ours).map(|(o, _)| o).collect();
        // A table has one route of a metric to a network, wherever it leads.
        let in_the_way = |object: &&Object| {
            let missing = to.iter().filter(|o| !standing.contains(o));
            !to.contains(object) && missing.into_iter().any(|o| is_instead(object, o))
        };
        let blocking = standing.iter().copied().filter(in_the_way);
        let mut steps: Vec<Step<'_>> = blocking.map(|o| Step::Remove(o, metric)).collect();
        // Routes before the rules that lead to them, and the other way round.
        let missing = |is_rule: bool| {
            let of_kind = move |object: &&Object| matches!(object, Object::Rule(_)) == is_rule;
            to.iter().filter(of_kind).filter(|o| !standing.contains(o))
        };
        steps
            .extend((missing(false).chain(missing(true))).map(|object| Step::Make(object, metric)));
        let stale = |is_rule: bool| {
            let of_kind = move |object: &&Object| matches!(object, Object::Rule(_)) == is_rule;
            let standing = standing.iter().copied();
            let stale = standing.filter(of_kind).filter(|o| !to.contains(o));
            stale.filter(|o| !in_the_way(o))
        };
        steps.extend((stale(true).chain(stale(false))).map(|object| Step::Remove(object, metric)));
        for (index, step) in steps.iter().enumerate() {
            if let Err(refused) = step.take(&mut socket) {
                let undone = steps[..index].iter().rev().map(|s| s.inverse());
                let failures: Vec<String> = undone
                    .filter_map(|step| Some((step, step.take(&mut socket).err()?)))
                    .map(|(step, refused)| format!("could not {step}: {refused}"))
                    .collect();
                return Err(failed(step, refused, netns, &failures));
            }
        }
        Ok(())
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        let mut socket = open(netns)?;
        let standing = ours(&mut socket).map_err(|e| look(netns, e))?;
        let holders = match standing.iter().any(|(object, _)| is_shared(object)) {
            true => within(Domain::Route, netns, holders)?,
            false => BTreeMap::new(),
        };
        let found = standing.iter().map(|(object, metric)| Found {
            domain: Domain::Route,
            netns: netns.clone(),
            instance: holders.get(metric).filter(|_| is_shared(object)).cloned(),
            role: None,
            what: object.to_string(),
        });
        Ok(found.collect())
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let mut socket = open(&found.netns)?;
        let standing = ours(&mut socket).map_err(|e| look(&found.netns, e))?;
        let holders = within(Domain::Route, &found.netns, holders)?;
        let meant = |(object, metric): &&(Object, u32)| {
            let holder = holders.get(metric).filter(|_| is_shared(object));
            object.to_string() == found.what && holder == found.instance.as_ref()
        };
        for (object, metric) in standing.iter().filter(meant) {
            let step = Step::Remove(object, *metric);
            step.take(&mut socket)
                .map_err(|refused| failed(&step, refused, &found.netns, &[]))?;
        }
        Ok(())
    }
}

/// The policy rules of the calling thread's namespace, of whomever.
pub(crate) fn rules() -> Result<Vec<Seen>, Refused> {
    let mut socket = Netlink::open(SockProtocol::NetlinkRoute)?;
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(list(
            &mut socket,
            RTM_GETRULE,
            &rule::all(family),
            rule::read,
        )?);
    }
    Ok(all)
}

/// A change of one object.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Make(&'a Object, u32),
    Remove(&'a Object, u32),
}

impl Step<'_> {
    /// Whether it is about a route to a device.
    const fn is_by_a_device(&self) -> bool {
        let (Self::Make(object, _) | Self::Remove(object, _)) = self;
        matches!(object, Object::Route(route) if matches!(route.to, Leads::Device { .. }))
    }

    const fn inverse(&self) -> Self {
        match *self {
            Self::Make(object, metric) => Self::Remove(object, metric),
            Self::Remove(object, metric) => Self::Make(object, metric),
        }
    }

    fn take(&self, socket: &mut Netlink) -> Result<(), Refused> {
        let (Self::Make(object, metric) | Self::Remove(object, metric)) = self;
        let body = match object {
            Object::Route(route) => {
                let out = match &route.to {
                    Leads::Device { name, .. } => match (link::find(socket, name)?, self) {
                        (Some(link), _) => Some(link.index),
                        (None, Self::Make(..)) => return Err(Errno::ENODEV.into()),
                        // It went with the device.
                        (None, Self::Remove(..)) => return Ok(()),
                    },
                    Leads::Here | Leads::Nowhere => None,
                };
                entry::request(route, *metric, out)
            }
            Object::Rule(rule) => rule::request(rule),
            _ => None,
        };
        // An object of another kind, or with a symbol left in it.
        let body = body.ok_or(Errno::EINVAL)?;
        let exclusive = NLM_F_CREATE | NLM_F_EXCL;
        match (self, object) {
            (Self::Make(..), Object::Rule(_)) => socket.command(RTM_NEWRULE, exclusive, &body),
            (Self::Make(..), _) => socket.command(RTM_NEWROUTE, exclusive, &body),
            (Self::Remove(..), Object::Rule(rule)) => remove_rule(socket, rule, &body),
            (Self::Remove(..), _) => gone_is_fine(socket.command(RTM_DELROUTE, 0, &body)),
        }
    }
}

impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Make(object, _) => write!(f, "make the {object}"),
            Self::Remove(object, _) => write!(f, "remove the {object}"),
        }
    }
}

/// Who has claimed a name in the calling thread's namespace, by the metric of his routes.
fn holders() -> BTreeMap<u32, Instance> {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    let names = sockets.lines().filter_map(|line| {
        let (_, name) = line.rsplit_once(" @steer-name-")?;
        Instance::new(name).ok()
    });
    names.map(|name| (entry::metric(&name), name)).collect()
}

/// Everything in a namespace that is exactly what we make, with the metric of routes.
fn ours(socket: &mut Netlink) -> Result<Vec<(Object, u32)>, Refused> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let routes = list(socket, RTM_GETROUTE, &entry::all(family), entry::read)?;
        let names = match routes.iter().any(Entry::leads_to_a_device) {
            true => link::all(socket)?,
            false => Vec::new(),
        };
        let names = names.into_iter().map(|link| (link.index, link.name));
        let names: BTreeMap<u32, String> = names.collect();
        let ours = |entry: &Entry| Some((Object::Route(entry.ours(&names)?), entry.metric));
        all.extend(routes.iter().filter_map(ours));
        let rules = rules_of(socket, family)?.into_iter();
        all.extend(rules.map(|rule| (Object::Rule(rule), 0)));
    }
    Ok(all)
}

/// The policy rules of a family that are exactly what we make.
fn rules_of(socket: &mut Netlink, family: Family) -> Result<Vec<PolicyRule>, Refused> {
    list(socket, RTM_GETRULE, &rule::all(family), |message| {
        rule::read(message)?.ours()
    })
}

/// Removes a rule, and only that one.
///
/// The kernel removes the first that has what is asked for, and to ask for no interface is to ask
/// for any. So whatever else went is made again.
fn remove_rule(socket: &mut Netlink, rule: &PolicyRule, body: &Body) -> Result<(), Refused> {
    if rule.interface.is_some() {
        return gone_is_fine(socket.command(RTM_DELRULE, 0, body));
    }
    let mut before = rules_of(socket, rule.family)?;
    while before.contains(rule) {
        gone_is_fine(socket.command(RTM_DELRULE, 0, body))?;
        let after = rules_of(socket, rule.family)?;
        for other in before.iter().filter(|r| *r != rule && !after.contains(r)) {
            Step::Make(&Object::Rule(other.clone()), 0).take(socket)?;
        }
        before = after;
    }
    Ok(())
}

/// A rule, a route, its family or its table that is gone already is success.
fn gone_is_fine(done: Result<(), Refused>) -> Result<(), Refused> {
    match done {
        Err(refused) if matches!(refused.errno(), Some(Errno::ENOENT | Errno::ESRCH)) => Ok(()),
        done => done,
    }
}

/// A list of one family; nothing where the kernel does not know the family.
fn list<T>(
    socket: &mut Netlink,
    kind: u16,
    body: &Body,
    each: impl FnMut(crate::netlink::message::Message<'_>) -> Option<T>,
) -> Result<Vec<T>, Refused> {
    match socket.list(kind, body, each) {
        Err(refused)
            if matches!(
                refused.errno(),
                Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EPFNOSUPPORT)
            ) =>
        {
            Ok(Vec::new())
        }
        done => done,
    }
}

fn open(netns: &Netns) -> Result<Netlink, DriverError> {
    within(Domain::Route, netns, || {
        Netlink::open(SockProtocol::NetlinkRoute)
    })?
    .map_err(|errno| look(netns, errno.into()))
}

fn look(netns: &Netns, refused: Refused) -> DriverError {
    DriverError::new(
        Domain::Route,
        format!(
            "could not look at the routes and policy rules{}",
            inside(netns)
        ),
        "see whether `ip rule` works there",
    )
    .because(refused)
}

fn failed(step: &Step<'_>, refused: Refused, netns: &Netns, undoing: &[String]) -> DriverError {
    let mut what = format!("could not {step}{}", inside(netns));
    for failure in undoing {
        what.push_str("; and what was done before it stays: ");
        what.push_str(failure);
    }
    let help = match refused.errno() {
        Some(Errno::EPERM | Errno::EACCES) => {
            "it needs CAP_NET_ADMIN there: run as root".to_owned()
        }
        Some(Errno::ENETDOWN | Errno::ENODEV | Errno::ENETUNREACH) if step.is_by_a_device() => {
            format!(
                "the device has to be there and up, with IPv6 where that is steered: see {}ip addr",
                entering(netns)
            )
        }
        Some(Errno::ENETDOWN | Errno::ENODEV | Errno::EINVAL) => format!(
            "the loopback device must be up, with IPv6 where that is steered: {}ip link set lo up",
            entering(netns)
        ),
        Some(Errno::EEXIST) => format!(
            "another program has one that is the same; see {0}ip rule and {0}ip route show table all",
            entering(netns)
        ),
        Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP) => {
            "the kernel needs CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES".to_owned()
        }
        _ => "run steer clean, and try again".to_owned(),
    };
    DriverError::new(Domain::Route, what, help).because(refused)
}

fn inside(netns: &Netns) -> String {
    match netns {
        Netns::Path(path) => format!(" in {path}"),
        _ => String::new(),
    }
}

fn entering(netns: &Netns) -> String {
    match netns {
        Netns::Path(path) => format!("nsenter --net={path} "),
        _ => String::new(),
    }
}

/// Whether it is a route of the table that is nobody's own.
fn is_shared(object: &Object) -> bool {
    matches!(object, Object::Route(route) if route.table.number() == Some(LOCAL_TABLE))
}

/// Whether two routes cannot stand in the same table, though they lead elsewhere.
fn is_instead(one: &Object, other: &Object) -> bool {
    let (Object::Route(one), Object::Route(other)) = (one, other) else {
        return false;
    };
    let place = |route: &Route| {
        let last = route.to == Leads::Nowhere;
        (route.family, route.net, route.table.number(), last)
    };
    one != other && place(one) == place(other)
}

fn table(object: &Object) -> Option<u32> {
    match object {
        Object::Route(route) => route.table.number(),
        Object::Rule(rule) => rule.table.number(),
        _ => None,
    }
}

const fn af(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

const fn family(af: u8) -> Option<Family> {
    match af {
        AF_INET => Some(Family::V4),
        AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
const RTM_NEWROUTE: u16 = libc::RTM_NEWROUTE;
const RTM_DELROUTE: u16 = libc::RTM_DELROUTE;
const RTM_GETROUTE: u16 = libc::RTM_GETROUTE;
const RTM_NEWRULE: u16 = libc::RTM_NEWRULE;
const RTM_DELRULE: u16 = libc::RTM_DELRULE;
const RTM_GETRULE: u16 = libc::RTM_GETRULE;
