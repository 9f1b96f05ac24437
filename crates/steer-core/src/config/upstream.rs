//! `upstreams`: the proxies that rules can name.

use std::path::PathBuf;

use super::document::{Name, Node, Span, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section, duplicates};
use super::url::{self, ProxyUrl};
use super::value;
use crate::policy::{Credentials, Secret, Upstream, UpstreamKind};

/// The upstreams of a configuration with the places of their addresses.
#[derive(Default)]
pub(super) struct Upstreams {
    /// Every name written, also of those whose value was wrong: naming one is no second mistake.
    pub(super) names: Vec<String>,
    pub(super) read: Vec<(Upstream, Span)>,
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
    Upstreams {
        names: entries.iter().map(|(name, _)| name.text.clone()).collect(),
        read: entries
            .iter()
            .filter_map(|(name, node)| upstream(name, node, report))
            .collect(),
    }
}

/// Reads `username` and `password` of a section, which every one of the protocols has to carry;
/// both or neither are written.
pub(super) fn credentials(
    section: &Section<'_>,
    carriers: &[UpstreamKind],
    report: &mut Report<'_>,
) -> Option<Credentials> {
    let username = section.at("username").and_then(|node| {
        let key = section.path_of("username");
        Some((value::text(node, &key, "a user name", report)?, node))
    });
    let password = section
        .at("password")
        .and_then(|node| Some((secret(node, &section.path_of("password"), report)?, node)));
    for (present, absent) in [("username", "password"), ("password", "username")] {
        if let (Some(span), None) = (section.key_span(present), section.at(absent))
            && section.known
        {
            let fault = Fault::HalfCredentials {
                section: format!("`{}`", section.path),
                present,
                absent,
            };
            report.fault(span, fault);
        }
    }
    let ((username, name_node), (password, password_node)) = (username?, password?);
    let literal = match &password {
        Secret::Literal(literal) => Some(literal.as_str()),
        Secret::Env(_) | Secret::File(_) => None,
    };
    let unsendable = carriers
        .iter()
        .find_map(|kind| url::sendable(*kind, username, literal).err());
    if let Some((part, why)) = unsendable {
        let node = if part == "password" {
            password_node
        } else {
            name_node
        };
        return report.none(&node.span, Fault::Unsendable { part, why });
    }
    Some(Credentials {
        username: username.to_owned(),
        password,
    })
}

fn upstream(name: &Name, node: &Node, report: &mut Report<'_>) -> Option<(Upstream, Span)> {
    let path = format!("upstreams.{}", name.text);
    let known = value::name(&name.text, &name.span, &RESERVED, report);
    let section = Section::open(node, &path, Keys::new(&KEYS), report)?;
    let url_node = section.required("url", "url: \"socks5://HOST:PORT\"", report)?;
    let text = value::text(url_node, &section.path_of("url"), "a URL", report)?;
    let parsed = match url::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => return report.none(&url_node.span, error),
    };
    let ProxyUrl {
        kind,
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
    let upstream = Upstream {
        name: known?,
        kind,
        address,
        credentials: in_url.or(as_keys),
    };
    Some((upstream, url_node.span.clone()))
}

/// Reads a secret: the value itself, `{ env: NAME }` or `{ file: PATH }`.
fn secret(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Secret> {
    match &node.value {
        Value::Text(literal) => Some(Secret::Literal(literal.clone())),
        Value::Null => report.none(&node.span, Fault::Empty(key.to_owned())),
        Value::List(_) => {
            let fault = Fault::Kind {
                key: key.to_owned(),
                found: node.value.kind(),
                expected: SECRET_FORMS.to_owned(),
            };
            report.none(&node.span, fault)
        }
        Value::Map(entries) => {
            let section = Section::open(node, key, Keys::new(&SECRET_KEYS), report)?;
            let fault = Fault::Kind {
                key: key.to_owned(),
                found: "another mapping",
                expected: SECRET_FORMS.to_owned(),
            };
            if entries.len() != 1 {
                return report.none(&node.span, fault);
            }
            if let Some(node) = section.at("env") {
                let name = value::text(node, &section.path_of("env"), "a variable", report)?;
                if name.is_empty() || name.contains(['=', '\0']) {
                    return report.none(&node.span, Fault::Empty(section.path_of("env")));
                }
                return Some(Secret::Env(name.to_owned()));
            }
            let node = section.at("file")?;
            let path = value::text(node, &section.path_of("file"), "a path", report)?;
            if path.is_empty() {
                return report.none(&node.span, Fault::Empty(section.path_of("file")));
            }
            Some(Secret::File(PathBuf::from(path)))
        }
    }
}

/// The keys of an upstream.
const KEYS: [&str; 3] = ["url", "username", "password"];
/// The keys of a secret that is kept elsewhere.
const SECRET_KEYS: [&str; 2] = ["env", "file"];
const SECRET_FORMS: &str = "the password, `{ env: NAME }` or `{ file: PATH }`";
/// `direct` and `none` stand in records for no upstream; `cli` is that of the command line.
const RESERVED: [&str; 3] = ["direct", "none", "cli"];
