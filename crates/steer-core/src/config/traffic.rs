//! `traffic`: which traffic of the scope.

use super::document::Node;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::address::Protocol;
use crate::intent::{Dns, Filter, Loopback, OnFailure, Quic, Traffic};

/// Reads `traffic`.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Traffic> {
    let section = Section::open(node, "traffic", Keys::new(&KEYS), report)?;
    Some(Traffic {
        include: filter(&section, "include", report),
        exclude: filter(&section, "exclude", report),
        loopback: section.at("loopback").and_then(|node| {
            let words = [("skip", Loopback::Skip), ("steer", Loopback::Steer)];
            value::word(node, "traffic.loopback", &words, &["skip", "steer"], report)
        }),
        dns: section.at("dns").and_then(|node| {
            let words = [("leave", Dns::Leave), ("capture", Dns::Capture)];
            value::word(node, "traffic.dns", &words, &["leave", "capture"], report)
        }),
        quic: section.at("quic").and_then(|node| {
            let words = [
                ("steer", Quic::Steer),
                ("reject", Quic::Reject),
                ("leave", Quic::Leave),
            ];
            let known = &["steer", "reject", "leave"];
            value::word(node, "traffic.quic", &words, known, report)
        }),
    })
}

/// Reads `on_failure`.
pub(super) fn on_failure(node: &Node, report: &mut Report<'_>) -> Option<OnFailure> {
    let words = [("open", OnFailure::Open), ("closed", OnFailure::Closed)];
    value::word(node, "on_failure", &words, &["open", "closed"], report)
}

/// Reads the name of a transport protocol.
pub(super) fn protocol(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Protocol> {
    let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    value::word(node, key, &words, &["tcp", "udp"], report)
}

fn filter(section: &Section<'_>, key: &str, report: &mut Report<'_>) -> Filter {
    section
        .at(key)
        .and_then(|node| Section::open(node, &section.path_of(key), FILTER_KEYS, report))
        .map(|filter| Filter {
            protocols: value::list(&filter, "protocols", report, protocol),
            ports: value::list(&filter, "ports", report, value::ports),
            cidrs: value::list(&filter, "cidrs", report, value::cidr),
            domains: value::list(&filter, "domains", report, value::host),
        })
        .unwrap_or_default()
}

/// The keys of `traffic`.
const KEYS: [&str; 5] = ["include", "exclude", "loopback", "dns", "quic"];
/// The keys of `traffic.include` and `traffic.exclude`.
const FILTER_KEYS: Keys = Keys::new(&["protocols", "ports", "cidrs", "domains"]);
