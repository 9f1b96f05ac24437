//! The rules for one request of a session.
use steer_core::address::HostName;
use steer_core::policy::{Action, App, FieldCondition, NormalPath, RequestCondition, Rule};
use steer_http::{Fields, Request, Version};

use super::keys::{Asked, Held, any, asks_for_address, holds};
use super::{Facts, Rules};

/// What is known of a request.
#[derive(Clone, Debug)]
pub(in crate::engine) struct RequestFacts<'a> {
    /// The name that it is for; none where it is for an address, or does not say.
    pub(in crate::engine) host: Option<&'a HostName>,
    /// What the session speaks.
    pub(super) app: App,
    method: &'a str,
    path: PathFact<'a>,
    fields: &'a Fields,
}

/// The path of a request.
#[derive(Clone, Debug)]
enum PathFact<'a> {
    /// It has none: `OPTIONS *`, `CONNECT`.
    None,
    /// One that servers read in ways that cannot be told.
    Unreadable,
    Normal(NormalPath<'a>),
}

/// What the rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum RequestDecision<'a> {
    /// This rule decides, or none does: it goes to where the connection goes.
    Rule(Option<&'a Rule>),
    /// It depends on the addresses of the connection's destination, which has a name.
    Resolve,
    /// It depends on who asks, and the method cannot tell.
    Unknown(&'a Rule),
}

impl<'a> RequestFacts<'a> {
    /// The facts of a request, as the program sent it, that is for a host of this name.
    pub(in crate::engine) fn of(request: &'a Request, host: Option<&'a HostName>) -> Self {
        let without = request.target == "*" || request.method == "CONNECT";
        let path = match request.path() {
            None if without => PathFact::None,
            None => PathFact::Unreadable,
            Some(path) => NormalPath::of(path).map_or(PathFact::Unreadable, PathFact::Normal),
        };
        Self {
            host,
            app: match request.version {
                Version::Http10 | Version::Http11 => App::Http1,
                Version::Http2 => App::Http2,
            },
            method: &request.method,
            path,
            fields: &request.fields,
        }
    }

    /// How what a rule asks of requests holds.
    pub(super) fn holds(&self, rule: &Rule, condition: &RequestCondition) -> Held {
        let RequestCondition {
            method,
            path,
            header,
        } = condition;
        // Of what cannot be read, nothing says that it may pass, nor that it may not be what is
        // to be stopped.
        let stops = rule.action == Action::Reject || rule.http.respond.is_some();
        let path = any(path, |pattern| match &self.path {
            PathFact::None => pattern.is_any(),
            PathFact::Unreadable => stops,
            PathFact::Normal(path) if stops => pattern.may_match(path),
            PathFact::Normal(path) => pattern.matches(path),
        });
        let method = any(method, |method| method == self.method);
        let there = |condition: &FieldCondition| {
            let mut values = self.fields.values(&condition.name);
            values.any(|value| condition.fits(value))
        };
        if path == Held::Yes && method == Held::Yes && header.iter().all(there) {
            Held::Yes
        } else {
            Held::No
        }
    }
}

impl Rules {
    /// What the rules say of a request of a connection of which `facts` are known.
    pub(in crate::engine) fn decide_request(
        &self,
        facts: Facts<'_>,
        request: &RequestFacts<'_>,
    ) -> RequestDecision<'_> {
        for rule in &self.0 {
            match holds(rule, facts, Asked::Request(request)) {
                Held::Yes => return RequestDecision::Rule(Some(rule)),
                Held::IfResolved => return RequestDecision::Resolve,
                Held::IfKnown => return RequestDecision::Unknown(rule),
                // What the first bytes say is known where there is a session.
                Held::No | Held::IfSniffed => {}
            }
        }
        RequestDecision::Rule(None)
    }

    /// As [`Rules::pins`], for a request.
    pub(in crate::engine) fn pins_request(
        &self,
        decided: Option<&Rule>,
        facts: Facts<'_>,
        request: &RequestFacts<'_>,
    ) -> bool {
        self.pinned(decided, |rule| {
            asks_for_address(rule, facts, Asked::Request(request))
        })
    }

    /// Whether a rule could send a secret in a session whose TLS is for this name, so that the
    /// engine finds the address itself.
    pub(in crate::engine) fn may_hold_secret(&self, name: Option<&HostName>) -> bool {
        self.0.iter().any(|rule| {
            rule.http.has_secret()
                && any(&rule.condition.host, |pattern| {
                    name.is_some_and(|name| pattern.matches(name))
                }) == Held::Yes
        })
    }
}
