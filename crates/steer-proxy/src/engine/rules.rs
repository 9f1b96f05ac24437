//! The rules: the first one that matches decides.
//!
//! A name may have several addresses, of which a `cidr` key matches some. A rule that rejects then
//! holds: no rule before it has let the connection pass. A rule that lets it pass holds for the
//! addresses that match, and only these may be dialled: to dial another one would pass by the
//! rules after it. For the same reason a proxy is asked for an address where an address was what
//! decided, as it could find another one for the name.
use std::net::IpAddr;

use steer_core::address::{Destination, HostName, Protocol};
use steer_core::policy::{Action, Condition, ExePattern, Rule};
use steer_core::steered::Identity;

use crate::sniff::Sniffed;

/// The rules of an engine, in order.
#[derive(Debug)]
pub(super) struct Rules(pub(super) Vec<Rule>);

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) protocol: Protocol,
    pub(super) destination: &'a Destination,
    /// The name that a resolver's answer gives to the destination's address.
    pub(super) answered: Option<&'a HostName>,
    /// Who asks.
    pub(super) identity: &'a Identity,
    /// What the client's first bytes say, once they were looked at.
    pub(super) sniffed: Option<&'a Sniffed>,
    /// The addresses of the destination's name, once it was looked up.
    pub(super) addresses: Option<&'a [IpAddr]>,
}

impl<'a> Facts<'a> {
    /// What is known before anything was looked at.
    pub(super) fn at_first(
        protocol: Protocol,
        destination: &'a Destination,
        identity: &'a Identity,
    ) -> Self {
        Self {
            protocol,
            destination,
            answered: None,
            identity,
            sniffed: None,
            addresses: None,
        }
    }
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// This rule decides, or none does.
    Rule(Option<&'a Rule>),
    /// It depends on the client's first bytes.
    Sniff,
    /// It depends on the addresses of the name that was asked for.
    Resolve,
    /// It depends on who asks, and the method cannot tell.
    Unknown(&'a Rule),
}

impl Rules {
    pub(super) fn decide(&self, facts: Facts<'_>) -> Decision<'_> {
        for rule in &self.0 {
            match holds(&rule.condition, facts) {
                Held::Yes => return Decision::Rule(Some(rule)),
                Held::No => {}
                Held::IfSniffed => return Decision::Sniff,
                Held::IfResolved => return Decision::Resolve,
                Held::IfKnown => return Decision::Unknown(rule),
            }
        }
        Decision::Rule(None)
    }

    /// Whether the connection goes direct whatever its first bytes say, so that there is no need to
    /// wait for them.
    pub(super) fn leave_direct(&self, facts: Facts<'_>) -> bool {
        for rule in &self.0 {
            match holds(&rule.condition, facts) {
                Held::No => {}
                Held::Yes => return rule.action == Action::Direct,
                // With addresses that were looked up, the rule would also choose among them.
                Held::IfSniffed if rule.action == Action::Direct && facts.addresses.is_none() => {}
                Held::IfSniffed | Held::IfResolved | Held::IfKnown => return false,
            }
        }
        true
    }

    /// Whether the connection may only go to addresses that the rules have seen, now that `decided`
    /// has decided: that rule asks for an address, or one that rejects other addresses was passed.
    pub(super) fn pins(&self, decided: Option<&Rule>, facts: Facts<'_>) -> bool {
        for rule in &self.0 {
            let is_last = decided.is_some_and(|decided| std::ptr::eq(decided, rule));
            if (is_last || rule.action == Action::Reject)
                && asks_for_address(&rule.condition, facts)
            {
                return true;
            }
            if is_last {
                break;
            }
        }
        false
    }

    /// The upstreams that rules name.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = (&Rule, &str)> {
        self.0.iter().filter_map(|rule| match &rule.action {
            Action::Upstream(name) => Some((rule, name.as_str())),
            Action::Direct | Action::Reject => None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    IfSniffed,
    IfResolved,
    IfKnown,
}

/// The addresses that a rule which lets a connection pass lets it go to.
pub(super) fn permits(rule: Option<&Rule>, address: IpAddr) -> bool {
    let cidr = rule.map_or(&[][..], |rule| &rule.condition.cidr);
    any(cidr, |net| net.contains(address)) == Held::Yes
}

/// Whether a condition has networks, and its other keys do not settle it without them.
fn asks_for_address(condition: &Condition, facts: Facts<'_>) -> bool {
    !condition.cidr.is_empty() && !keys(condition, facts)[1..].contains(&Held::No)
}

fn holds(condition: &Condition, facts: Facts<'_>) -> Held {
    let keys = keys(condition, facts);
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

/// How each key holds, the networks first.
fn keys(condition: &Condition, facts: Facts<'_>) -> [Held; 10] {
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
        request: _,
    } = condition;
    let Facts {
        destination,
        identity,
        sniffed,
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
        match (
            host.is_empty(),
            destination.name().or(facts.answered),
            sniffed,
        ) {
            (true, _, _) => Held::Yes,
            (false, Some(name), _) => any(host, |pattern| pattern.matches(name)),
            (false, None, None) => Held::IfSniffed,
            (false, None, Some(sniffed)) => {
                let name: Option<&HostName> = sniffed.host.as_ref();
                any(host, |pattern| {
                    name.is_some_and(|name| pattern.matches(name))
                })
            }
        },
        match (app.is_empty(), sniffed) {
            (true, _) => Held::Yes,
            (false, None) => Held::IfSniffed,
            (false, Some(sniffed)) => any(app, |app| *app == sniffed.app),
        },
    ]
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
fn is_within(cgroup: &str, wanted: &str) -> bool {
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
fn any<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> Held {
    if values.is_empty() || values.iter().any(holds) {
        Held::Yes
    } else {
        Held::No
    }
}

#[cfg(test)]
mod tests;
