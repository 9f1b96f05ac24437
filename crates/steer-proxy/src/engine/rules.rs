//! The rules: the first one that matches decides.
//!
//! ```text
//! connection ─ decide ─┬─ Rule ────> its way
//!                      ├─ Inspect ─> session of HTTP ─┐
//!                      └─ Open ────> TLS ─> session ──┴─ decide_request, for each request
//! ```
//!
//! A name may have several addresses, of which a `cidr` key matches some. A rule that rejects then
//! holds: no rule before it has let the connection pass. A rule that lets it pass holds for the
//! addresses that match, and only these may be dialled: to dial another one would pass by the
//! rules after it. For the same reason a proxy is asked for an address where an address was what
//! decided, as it could find another one for the name.
use std::net::IpAddr;

use steer_core::address::{Destination, HostName, Protocol};
use steer_core::policy::{Action, Rule};
use steer_core::steered::Identity;

use crate::sniff::Sniffed;

mod keys;
mod request;

pub(super) use keys::permits;
pub(super) use request::{RequestDecision, RequestFacts};

use keys::{Asked, Held, Meant, asks_for_address, holds, may_mean, meant, trusts_first_request};

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
    /// It is a session of HTTP whose requests are asked about one by one; this rule is about them.
    Inspect(&'a Rule),
    /// It is TLS that is opened, by this rule, to ask about the requests in it.
    Open(&'a Rule),
    /// It depends on the client's first bytes.
    Sniff,
    /// It depends on the addresses of the name that was asked for.
    Resolve,
    /// It depends on who asks, and the method cannot tell.
    Unknown(&'a Rule),
}

/// Whether what is inside a connection can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Seen,
    Unseen,
}

impl Rules {
    /// What the rules say of a connection.
    ///
    /// Where a rule about requests may hold for one of a session's, the session is inspected: a
    /// later request can be for another name than the first, so that names are asked of each
    /// request alone. A rule for connections that the name of the first request alone fulfils lets
    /// the session pass only where no such rule follows.
    pub(super) fn decide(&self, facts: Facts<'_>) -> Decision<'_> {
        self.walk(facts, Inside::Seen)
    }

    /// What the rules say of a connection whose inside is not looked at: TLS that passes although
    /// a rule opens it, or holds something else than HTTP. Rules about requests do not hold.
    pub(super) fn decide_unseen(&self, facts: Facts<'_>) -> Decision<'_> {
        self.walk(facts, Inside::Unseen)
    }

    fn walk(&self, facts: Facts<'_>, inside: Inside) -> Decision<'_> {
        // What decides unless a rule about requests follows.
        let mut first: Option<&Rule> = None;
        for rule in &self.0 {
            match meant(rule, facts, inside) {
                Meant::Nothing => {}
                Meant::Connection => match holds(rule, facts, Asked::Connection) {
                    Held::No => {}
                    Held::Yes if first.is_some() => {
                        if !trusts_first_request(rule, facts) {
                            break;
                        }
                    }
                    Held::Yes
                        if inside == Inside::Seen
                            && rule.action != Action::Reject
                            && trusts_first_request(rule, facts) =>
                    {
                        first = Some(rule);
                    }
                    Held::Yes => return Decision::Rule(Some(rule)),
                    _ if first.is_some() => {}
                    Held::IfSniffed => return Decision::Sniff,
                    Held::IfResolved => return Decision::Resolve,
                    Held::IfKnown => return Decision::Unknown(rule),
                },
                Meant::Session => match holds(rule, facts, Asked::Session) {
                    Held::No => {}
                    // What else has to be known is asked where a request is meant.
                    _ => return Decision::Inspect(rule),
                },
                Meant::Opening => match holds(rule, facts, Asked::Opening) {
                    Held::No => {}
                    Held::Yes => return Decision::Open(rule),
                    Held::IfSniffed => return Decision::Sniff,
                    Held::IfResolved => return Decision::Resolve,
                    Held::IfKnown => return Decision::Unknown(rule),
                },
                Meant::IfSniffed => {
                    if may_mean(rule, facts) {
                        return Decision::Sniff;
                    }
                }
            }
        }
        Decision::Rule(first)
    }

    /// Whether the connection goes direct whatever its first bytes say, so that there is no need to
    /// wait for them.
    pub(super) fn leave_direct(&self, facts: Facts<'_>) -> bool {
        for rule in &self.0 {
            match meant(rule, facts, Inside::Seen) {
                Meant::Nothing => continue,
                Meant::Connection => {}
                Meant::IfSniffed | Meant::Session | Meant::Opening => {
                    if may_mean(rule, facts) {
                        return false;
                    }
                    continue;
                }
            }
            match holds(rule, facts, Asked::Connection) {
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
        self.pinned(decided, |rule| {
            meant(rule, facts, Inside::Unseen) == Meant::Connection
                && asks_for_address(rule, facts, Asked::Connection)
        })
    }

    fn pinned(&self, decided: Option<&Rule>, asks_for_address: impl Fn(&Rule) -> bool) -> bool {
        for rule in &self.0 {
            let is_last = decided.is_some_and(|decided| std::ptr::eq(decided, rule));
            if (is_last || rule.action == Action::Reject) && asks_for_address(rule) {
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

#[cfg(test)]
mod tests;
