//! What one part of a rule says about another.

use super::super::document::Span;
use super::super::report::Report;
use super::super::section::Section;
use super::error::RequestFault;
use crate::address::Protocol;
use crate::policy::{Action, App, Inspect, Rule};

/// Notes what cannot stand together in a rule about requests.
pub(super) fn check(
    rule: &Rule,
    section: &Section<'_>,
    respond: Option<&Span>,
    report: &mut Report<'_>,
) {
    let Rule {
        name: _,
        condition,
        action,
        http,
        tls,
    } = rule;
    let span_of = |key: &str| section.key_span(key).unwrap_or(section.span);
    match action {
        Action::Upstream(_) => {
            if let Some(span) = respond {
                report.fault(span, RequestFault::RespondBeside("upstream"));
            }
        }
        Action::Reject => {
            for (key, written) in [
                ("http", section.at("http").is_some()),
                // A request that is rejected has to be seen first.
                (
                    "tls",
                    *tls == Inspect::Intercept && !rule.is_about_requests(),
                ),
            ] {
                if written {
                    report.fault(span_of(key), RequestFault::RejectBeside(key));
                }
            }
        }
        Action::Direct => {}
    }
    if http.has_secret() && condition.host.is_empty() && http.to.is_none() {
        report.fault(span_of("http"), RequestFault::Anybody);
    }
    let matched = section.at("match");
    let at = |key: &str| {
        let node = matched.and_then(|node| node.entry(key));
        node.map_or(section.span, |node| &node.span)
    };
    let datagrams = !condition.protocol.is_empty() && !condition.protocol.contains(&Protocol::Tcp);
    let spoken = |meant: &[App]| {
        let has = |app| meant.contains(app);
        condition.app.is_empty() || condition.app.iter().any(has)
    };
    if rule.is_about_requests() {
        if datagrams {
            report.fault(at("protocol"), RequestFault::NoRequests("protocol"));
        }
        let opened = *tls == Inspect::Intercept;
        let meant = [App::Http1, App::Http2, App::Tls];
        if !spoken(&meant[..if opened { 3 } else { 2 }]) {
            report.fault(at("app"), RequestFault::NoRequests("app"));
        }
    } else if *tls == Inspect::Intercept {
        if datagrams {
            report.fault(at("protocol"), RequestFault::NoTls("protocol"));
        }
        if !spoken(&[App::Http1, App::Http2, App::Tls]) {
            report.fault(at("app"), RequestFault::NoTls("app"));
        }
    }
}
