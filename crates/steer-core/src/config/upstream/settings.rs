//! The sections of an upstream.

use std::path::PathBuf;

use super::super::document::Node;
use super::super::fault::Fault;
use super::super::report::Report;
use super::super::section::{Keys, Section};
use super::super::value;
use super::amount::{count, time};
use crate::policy::{ClientCertificate, Health, UpstreamLimits, UpstreamTls};

/// Reads `tls`.
pub(super) fn tls(node: &Node, path: &str, report: &mut Report<'_>) -> Option<UpstreamTls> {
    let section = filled(
        node,
        path,
        Keys::new(&["name", "roots", "certificate"]),
        report,
    )?;
    Some(UpstreamTls {
        name: section.at("name").and_then(|node| {
            let key = section.path_of("name");
            value::parsed(node, &key, "a host name", Fault::Host, report)
        }),
        roots: value::list(&section, "roots", report, file),
        certificate: section.at("certificate").and_then(|node| {
            let path = section.path_of("certificate");
            let section = Section::open(node, &path, Keys::new(&["chain", "key"]), report)?;
            let chain = section.required("chain", "chain: /etc/steer/client.pem", report);
            let chain = chain.and_then(|node| file(node, &section.path_of("chain"), report));
            let key = section.required("key", "key: /etc/steer/client.key", report);
            let key = key.and_then(|node| file(node, &section.path_of("key"), report));
            Some(ClientCertificate {
                chain: chain?,
                key: key?,
            })
        }),
    })
}

/// Reads `health`.
pub(super) fn health(node: &Node, path: &str, report: &mut Report<'_>) -> Option<Health> {
    let keys = Keys::new(&["interval", "fall", "rise", "timeout"]);
    let section = filled(node, path, keys, report)?;
    let usual = Health::default();
    Some(Health {
        interval: time(&section, "interval", report).unwrap_or(usual.interval),
        fall: count(&section, "fall", report).unwrap_or(usual.fall),
        rise: count(&section, "rise", report).unwrap_or(usual.rise),
        timeout: time(&section, "timeout", report).unwrap_or(usual.timeout),
    })
}

/// Reads `limits`.
pub(super) fn limits(node: &Node, path: &str, report: &mut Report<'_>) -> Option<UpstreamLimits> {
    let section = filled(node, path, Keys::new(&["connections", "connect"]), report)?;
    Some(UpstreamLimits {
        connections: count::<u32>(&section, "connections", report)
            .and_then(|count| usize::try_from(count).ok()),
        connect: time(&section, "connect", report),
    })
}

fn filled<'n>(
    node: &'n Node,
    path: &str,
    keys: Keys,
    report: &mut Report<'_>,
) -> Option<Section<'n>> {
    let section = Section::open(node, path, keys, report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty(path.to_owned()));
    }
    Some(section)
}

fn file(node: &Node, key: &str, report: &mut Report<'_>) -> Option<PathBuf> {
    let path = value::text(node, key, "a path", report)?;
    if path.is_empty() {
        return report.none(&node.span, Fault::Empty(key.to_owned()));
    }
    Some(PathBuf::from(path))
}
