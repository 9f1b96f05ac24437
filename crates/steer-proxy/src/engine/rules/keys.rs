//! How the keys of a rule's condition hold.
use std::net::IpAddr;

use steer_core::address::{Destination, HostName, HostPattern, Protocol};
use steer_core::policy::{Action, App, Condition, ExePattern, Inspect, Rule};

use super::request::RequestFacts;
use super::{Facts, Inside};

/// How a key holds, or what has to be known first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    IfSniffed,
    IfResolved,
    IfKnown,
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// A connection that passes as it is.
    Connection,
    /// A session of HTTP: the names of its requests are not known, so that each may be meant.
    Session,
    /// TLS that would be opened: what is inside is not known, and the name is the client's (SNI).
    Opening,
    /// One request.
    Request(&'a RequestFacts<'a>),
}

/// What a rule can mean for a connection that is to be looked into where a rule says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// It says what becomes of the connection.
    Connection,
    /// It says what becomes of the requests of its session.
    Session,
    /// It says that its TLS is opened.
    Opening,
    /// That depends on the first bytes.
    IfSniffed,
    /// It has nothing to say.
    Nothing,
}

/// What a rule means for a connection, as far as is known.
pub(super) fn meant(rule: &Rule, facts: Facts<'_>, inside: Inside) -> Meant {
    let requests = rule.is_about_requests();
    let opens = rule.tls == Inspect::Intercept;
    if !requests && !opens {
        return Meant::Connection;
    }
    let unseen = if requests {
        Meant::Nothing
    } else {
        Meant::Connection
    };
    if inside == Inside::Unseen || facts.protocol != Protocol::Tcp {
        return unseen;
    }
    match facts.sniffed.map(|sniffed| sniffed.app) {
        None => Meant::IfSniffed,
        Some(App::Http1 | App::Http2) if requests => Meant::Session,
        Some(App::Tls) if opens => Meant::Opening,
        Some(_) => unseen,
    }
}

/// How a rule holds.
pub(super) fn holds(rule: &Rule, facts: Facts<'_>, asked: Asked<'_>) -> Held {
    let keys = keys(rule, facts, asked);
    // A key that fails settles it, whatever the others depend on.
    if keys.contains(&Held::No) {
        return Held::No;
    }
    // What can be found out is, before the rest is given up.
    [Held::IfResolved, Held::IfSniffed, Held::IfKnown]
        .into_iter()
        .find(|held| keys.contains(held))
        .unwrap_or(Held::Yes)
}

/// Whether a rule about what is inside may have something to say of a connection whose first bytes
/// are not known.
pub(super) fn may_mean(rule: &Rule, facts: Facts<'_>) -> bool {
    holds(rule, facts, Asked::Session) != Held::No
}

/// Whether a rule has networks, and its other keys do not settle it without them.
pub(super) fn asks_for_address(rule: &Rule, facts: Facts<'_>, asked: Asked<'_>) -> bool {
    !rule.condition.cidr.is_empty() && !keys(rule, facts, asked)[1..].contains(&Held::No)
}

/// Whether the name that a session's first request claims is what a rule for the connection is
/// judged by: a later request can claim another one.
pub(super) fn trusts_first_request(rule: &Rule, facts: Facts<'_>) -> bool {
    let http = |app| matches!(app, App::Http1 | App::Http2);
    !rule.condition.host.is_empty()
        && facts.destination.name().or(facts.answered).is_none()
        && facts.sniffed.is_some_and(|sniffed| http(sniffed.app))
}

/// How each key holds, the networks first.
fn keys(rule: &Rule, facts: Facts<'_>, asked: Asked<'_>) -> [Held; 11] {
    let Condition {
        host,
        cidr,
        port,
        protocol,
        uid,
        gid,
        exe,
        command,
        cgroup,
        app,
        request,
    } = &rule.condition;
    let Facts {
        destination,
        identity,
        addresses,
        ..
    } = facts;
    [
        match (cidr.is_empty(), destination) {
            (true, _) => Held::Yes,
            (false, Destination::Addr(to)) => any(cidr, |net| net.contains(to.addr().ip())),
            (false, Destination::Name { .. }) => match addresses {
                None => Held::IfResolved,
                Some(addresses) => any(cidr, |net| addresses.iter().any(|ip| net.contains(*ip))),
            },
        },
        any(port, |range| range.contains(destination.port())),
        any(protocol, |protocol| *protocol == facts.protocol),
        known(uid, identity.uid, |range, id| range.contains(id)),
        known(gid, identity.gid, |range, id| range.contains(id)),
        known(exe, identity.exe.as_deref(), ExePattern::matches),
        known(command, identity.command.as_deref(), |name, is| name == is),
        known(cgroup, identity.cgroup.as_deref(), |wanted, is| {
            is_within(is, wanted)
        }),
        if host.is_empty() {
            Held::Yes
        } else {
            named(rule, facts, asked)
        },
        if app.is_empty() {
            Held::Yes
        } else {
            spoken(app, facts, asked)
        },
        match asked {
            Asked::Request(asked) => asked.holds(rule, request),
            Asked::Connection | Asked::Session | Asked::Opening => Held::Yes,
        },
    ]
}

/// How the names that a rule asks for hold.
fn named(rule: &Rule, facts: Facts<'_>, asked: Asked<'_>) -> Held {
    let fits = |name: Option<&HostName>| {
        let meant = |pattern: &HostPattern| name.is_some_and(|name| pattern.matches(name));
        any(&rule.condition.host, meant)
    };
    let known = facts.destination.name().or(facts.answered);
    let claimed = facts.sniffed.map(|sniffed| sniffed.host.as_ref());
    match asked {
        Asked::Session => Held::Yes,
        Asked::Connection if known.is_some() => fits(known),
        Asked::Connection | Asked::Opening => claimed.map_or(Held::IfSniffed, fits),
        // What is rejected is not reached under another name either.
        Asked::Request(request) if rule.action == Action::Reject => {
            let names = [request.host, known, claimed.flatten()];
            let held = |name: Option<&HostName>| name.is_some() && fits(name) == Held::Yes;
            if names.into_iter().any(held) {
                Held::Yes
            } else {
                Held::No
            }
        }
        Asked::Request(request) => fits(request.host),
    }
}

/// How the protocols that a rule asks for hold.
fn spoken(app: &[App], facts: Facts<'_>, asked: Asked<'_>) -> Held {
    let sniffed = facts.sniffed.map(|sniffed| sniffed.app);
    match asked {
        Asked::Connection | Asked::Session => match sniffed {
            None => Held::IfSniffed,
            Some(sniffed) => any(app, |app| *app == sniffed),
        },
        Asked::Opening => any(app, |app| matches!(app, App::Tls | App::Http1 | App::Http2)),
        // A request in TLS that was opened is of both.
        Asked::Request(request) => any(app, |app| {
            *app == request.app || *app == App::Tls && sniffed == Some(App::Tls)
        }),
    }
}

/// Whether a rule that lets a connection pass lets it go to an address.
pub(in crate::engine) fn permits(rule: Option<&Rule>, address: IpAddr) -> bool {
    let cidr = rule.map_or(&[][..], |rule| &rule.condition.cidr);
    any(cidr, |net| net.contains(address)) == Held::Yes
}

/// A key about who asks: what is not known neither holds nor fails.
fn known<T, F: Copy>(values: &[T], fact: Option<F>, holds: impl Fn(&T, F) -> bool) -> Held {
    match (values.is_empty(), fact) {
        (true, _) => Held::Yes,
        (false, Some(fact)) => any(values, |value| holds(value, fact)),
        (false, None) => Held::IfKnown,
    }
}

/// Whether a cgroup is the one that is wanted, or below it. A single name is a unit of systemd's,
/// whose path nobody has to know.
pub(super) fn is_within(cgroup: &str, wanted: &str) -> bool {
    let cgroup = cgroup.trim_start_matches('/');
    let below = cgroup
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // A user's own unit can have the name of the system's; whoever minds writes the path.
    below || is_unit(wanted) && cgroup.split('/').any(|part| part == wanted)
}

/// Whether a text is the name of a unit that can have processes (systemd.unit(5)).
fn is_unit(text: &str) -> bool {
    let ends = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];
    !text.contains('/') && ends.iter().any(|end| text.ends_with(end))
}

/// A key without values holds; otherwise one of its values must.
pub(super) fn any<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> Held {
    if values.is_empty() || values.iter().any(holds) {
        Held::Yes
    } else {
        Held::No
    }
}
