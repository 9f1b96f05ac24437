//! `upstreams`: the proxies that rules can name.

mod amount;
mod error;
mod login;
mod settings;

use super::document::{Name, Node, Span, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section, duplicates};
use super::url::{self, ProxyUrl};
use super::value;
use crate::address::Destination;
use crate::policy::{Resolving, Upstream, UpstreamKind, UpstreamTls};
use crate::proxy_protocol::Version;

pub use error::UpstreamFault;
pub(super) use login::credentials;

/// The upstreams of a configuration with the places of their addresses.
#[derive(Default)]
pub(super) struct Upstreams {
    /// Every name written, also of those whose value was wrong: naming one is no second mistake.
    pub(super) names: Vec<String>,
    pub(super) read: Vec<Upstream>,
    /// The addresses that the engine dials itself.
    pub(super) dialled: Vec<(Destination, Span)>,
    /// Where upstreams name each other.
    pub(super) references: Vec<(String, Span)>,
}

/// Reads `upstreams`, a mapping of names.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Upstreams {
    let Value::Map(entries) = &node.value else {
        let fault = Fault::Kind {
            key: "upstreams".to_owned(),
            found: node.value.kind(),
            expected: "a mapping, `{ NAME: { url: \"socks5://HOST:PORT\" } }`".to_owned(),
        };
        report.fault(&node.span, fault);
        return Upstreams::default();
    };
    duplicates(entries, report);
    let mut upstreams = Upstreams {
        names: entries.iter().map(|(name, _)| name.text.clone()).collect(),
        ..Upstreams::default()
    };
    for (name, node) in entries {
        let upstream = upstreams.upstream(name, node, report);
        upstreams.read.extend(upstream);
    }
    upstreams.circles(entries, report);
    upstreams
}

impl Upstreams {
    fn upstream(&mut self, name: &Name, node: &Node, report: &mut Report<'_>) -> Option<Upstream> {
        let path = format!("upstreams.{}", name.text);
        let known = value::name(&name.text, &name.span, &RESERVED, report);
        let section = Section::open(node, &path, Keys::new(&KEYS), report)?;
        let via = section.at("via").and_then(|node| {
            let key = section.path_of("via");
            let via = value::text(node, &key, "the name of an upstream", report)?;
            self.references.push((via.to_owned(), node.span.clone()));
            Some(via.to_owned())
        });
        let endpoints = endpoints(&section, report);
        let limits = section.at("limits").and_then(|node| {
            let path = section.path_of("limits");
            settings::limits(node, &path, report)
        });
        let health = section.at("health").and_then(|node| {
            let path = section.path_of("health");
            settings::health(node, &path, report)
        });
        let proxy_protocol = section.at("proxy_protocol").and_then(|node| {
            let key = section.path_of("proxy_protocol");
            let words = [("v1", Version::V1), ("v2", Version::V2)];
            value::word(node, &key, &words, &["v1", "v2"], report)
        });
        let url_node = section.required("url", "url: \"socks5://HOST:PORT\"", report)?;
        let text = value::text(url_node, &section.path_of("url"), "a URL", report)?;
        let parsed = match url::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return report.none(&url_node.span, error),
        };
        let ProxyUrl {
            kind,
            tls,
            address,
            credentials: in_url,
        } = parsed;
        let as_keys = credentials(&section, &[kind], report);
        let written = section
            .key_span("username")
            .or(section.key_span("password"));
        if let (Some(_), Some(span)) = (&in_url, written) {
            report.fault(span, Fault::CredentialsTwice);
        }
        let tls = sealing(&section, tls, report);
        let nameless =
            address.name().is_none() || endpoints.iter().any(|(to, _)| to.name().is_none());
        if let (true, Some(tls)) = (nameless, &tls)
            && (&tls.name, tls.certificate.is_some()) == (&None, true)
            && let Some(span) = section.key_span("tls")
        {
            report.fault(span, UpstreamFault::Nameless);
        }
        let resolve = resolving(&section, kind, report);
        if let Some((to, span)) = endpoints.iter().find(|(to, _)| *to == address) {
            report.fault(span, Fault::Twice(format!("the endpoint {to}")));
        }
        // What is reached through another proxy is dialled by that one, from where it is.
        if via.is_none() {
            self.dialled.push((address.clone(), url_node.span.clone()));
            self.dialled.extend(endpoints.iter().cloned());
        }
        Some(Upstream {
            endpoints: endpoints.into_iter().map(|(to, _)| to).collect(),
            credentials: in_url.or(as_keys),
            tls,
            proxy_protocol,
            via,
            health,
            limits: limits.unwrap_or_default(),
            resolve: resolve.unwrap_or_default(),
            ..Upstream::new(known?, kind, address)
        })
    }

    /// Notes upstreams that go through each other and lead nowhere, each circle once.
    fn circles(&self, entries: &[(Name, Node)], report: &mut Report<'_>) {
        let via = |name: &str| {
            let upstream = self.read.iter().find(|upstream| upstream.name == name)?;
            upstream.via.as_deref()
        };
        let mut told: Vec<&str> = Vec::new();
        for Upstream { name: first, .. } in &self.read {
            let mut path = vec![first.as_str()];
            while let Some(next) = via(path.last().expect("a path has a beginning")) {
                path.push(next);
                if path[..path.len() - 1].contains(&next) {
                    break;
                }
            }
            let circle = path.len() > 1 && path.first() == path.last();
            if !circle || told.contains(&first.as_str()) {
                continue;
            }
            let at = entries.iter().find(|(name, _)| name.text == *first);
            if let Some(node) = at.and_then(|(_, node)| node.entry("via")) {
                let names = path.iter().map(|name| (*name).to_owned()).collect();
                report.fault(&node.span, UpstreamFault::Circle(names));
            }
            told.extend(path);
        }
    }
}

/// Reads `endpoints`: none is a place that the list, or the URL, has already.
fn endpoints(section: &Section<'_>, report: &mut Report<'_>) -> Vec<(Destination, Span)> {
    let mut endpoints: Vec<(Destination, Span)> = Vec::new();
    value::list(section, "endpoints", report, |node, key, report| {
        let given = value::text(node, key, "HOST:PORT", report)?;
        let read = given.parse::<Destination>().ok();
        let Some(to) = read.filter(|to| to.port() != 0) else {
            return report.none::<()>(&node.span, UpstreamFault::Endpoint(given.to_owned()));
        };
        if endpoints.iter().any(|(other, _)| *other == to) {
            return report.none(&node.span, Fault::Twice(format!("the endpoint {to}")));
        }
        endpoints.push((to, node.span.clone()));
        Some(())
    });
    endpoints
}

/// What is said of the TLS of a URL that has it.
fn sealing(section: &Section<'_>, tls: bool, report: &mut Report<'_>) -> Option<UpstreamTls> {
    let Some(node) = section.at("tls") else {
        return tls.then(UpstreamTls::default);
    };
    let read = settings::tls(node, &section.path_of("tls"), report);
    if let (false, Some(span)) = (tls, section.key_span("tls")) {
        let needs = "a `url` of `https://` or `socks5+tls://`";
        report.fault(span, Fault::Needs { key: "tls", needs });
    }
    read
}

/// Who resolves names.
fn resolving(
    section: &Section<'_>,
    kind: UpstreamKind,
    report: &mut Report<'_>,
) -> Option<Resolving> {
    let node = section.at("resolve")?;
    let words = [("upstream", Resolving::Upstream), ("here", Resolving::Here)];
    let names = &["upstream", "here"];
    let resolve = value::word(node, &section.path_of("resolve"), &words, names, report)?;
    if kind == UpstreamKind::Tcp {
        return report.none(&node.span, UpstreamFault::NothingAsked);
    }
    Some(resolve)
}

/// The keys of an upstream.
const KEYS: [&str; 10] = [
    "url",
    "username",
    "password",
    "tls",
    "endpoints",
    "health",
    "limits",
    "proxy_protocol",
    "resolve",
    "via",
];
/// `direct` and `none` stand in records for no upstream; `cli` is that of the command line.
const RESERVED: [&str; 3] = ["direct", "none", "cli"];
