//! What a proxy, or we, ask a client for: a user name and a password.

use std::path::PathBuf;

use super::super::document::{Node, Value};
use super::super::fault::Fault;
use super::super::report::Report;
use super::super::section::{Keys, Section};
use super::super::{url, value};
use crate::policy::{Credentials, Secret, UpstreamKind};

/// Reads `username` and `password` of a section, which every one of the protocols has to carry;
/// both or neither are written.
pub(in crate::config) fn credentials(
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

/// The keys of a secret that is kept elsewhere.
const SECRET_KEYS: [&str; 2] = ["env", "file"];
const SECRET_FORMS: &str = "the password, `{ env: NAME }` or `{ file: PATH }`";
