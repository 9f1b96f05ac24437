//! Single values and lists of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use super::document::{Node, Span, Value};
use super::fault::Fault;
use super::nearest::nearest;
use super::report::Report;
use super::section::Section;
use super::words::listed;
use crate::address::{Cidr, HostPattern, IdRange, PortRange, canonical};

/// The text of a scalar.
pub(super) fn text<'n>(
    node: &'n Node,
    key: &str,
    expected: &str,
    report: &mut Report<'_>,
) -> Option<&'n str> {
    node.text().or_else(|| {
        let fault = Fault::Kind {
            key: key.to_owned(),
            found: node.value.kind(),
            expected: expected.to_owned(),
        };
        report.none(&node.span, fault)
    })
}

/// `true` or `false`.
pub(super) fn truth(node: &Node, key: &str, report: &mut Report<'_>) -> Option<bool> {
    word(
        node,
        key,
        &[("true", true), ("false", false)],
        &["true", "false"],
        report,
    )
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    node: &Node,
    key: &str,
    words: &[(&str, T)],
    known: &'static [&'static str],
    report: &mut Report<'_>,
) -> Option<T> {
    let given = text(node, key, &listed(known, "or"), report)?;
    let found = words.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| *value).or_else(|| {
        let fault = Fault::Word {
            key: key.to_owned(),
            word: given.to_owned(),
            near: nearest(given, known.iter().copied()),
            known,
        };
        report.none(&node.span, fault)
    })
}

/// A text with a grammar of its own.
pub(super) fn parsed<T, E>(
    node: &Node,
    key: &str,
    expected: &str,
    fault: impl FnOnce(E) -> Fault,
    report: &mut Report<'_>,
) -> Option<T>
where
    T: FromStr<Err = E>,
{
    match text(node, key, expected, report)?.parse() {
        Ok(value) => Some(value),
        Err(error) => report.none(&node.span, fault(error)),
    }
}

/// The values of a key that takes a list; a single value is a list of one, and an empty list is
/// refused, because it would read as "nothing" and mean "all".
pub(super) fn list<T>(
    section: &Section<'_>,
    key: &str,
    report: &mut Report<'_>,
    mut read: impl FnMut(&Node, &str, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(node) = section.at(key) else {
        return Vec::new();
    };
    let path = section.path_of(key);
    match &node.value {
        Value::Null => {
            report.fault(
                section.key_span(key).unwrap_or(&node.span),
                Fault::Empty(path),
            );
            Vec::new()
        }
        Value::List(items) if items.is_empty() => {
            report.fault(&node.span, Fault::Empty(path));
            Vec::new()
        }
        Value::List(items) => items
            .iter()
            .filter_map(|item| read(item, &path, report))
            .collect(),
        Value::Text(_) | Value::Map(_) => read(node, &path, report).into_iter().collect(),
    }
}

/// A port or a range of ports.
pub(super) fn ports(node: &Node, key: &str, report: &mut Report<'_>) -> Option<PortRange> {
    parsed(
        node,
        key,
        "a port or a range of ports",
        Fault::Range,
        report,
    )
}

/// A network.
pub(super) fn cidr(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Cidr> {
    parsed(node, key, "a network like 10.0.0.0/8", Fault::Cidr, report)
}

/// A host name or pattern.
pub(super) fn host(node: &Node, key: &str, report: &mut Report<'_>) -> Option<HostPattern> {
    parsed(node, key, "a host name", Fault::Host, report)
}

/// A user id, a range of them, or a user's name.
pub(super) fn uid(node: &Node, key: &str, report: &mut Report<'_>) -> Option<IdRange> {
    let users = &report.host.users;
    account(node, key, "user", users, report)
}

/// A group id, a range of them, or a group's name.
pub(super) fn gid(node: &Node, key: &str, report: &mut Report<'_>) -> Option<IdRange> {
    let groups = &report.host.groups;
    account(node, key, "group", groups, report)
}

/// A port that must be one.
pub(super) fn port(node: &Node, key: &str, report: &mut Report<'_>) -> Option<u16> {
    let given = text(node, key, "a port", report)?;
    match given.parse::<PortRange>() {
        Ok(range) if range.first() == range.last() => Some(range.first()),
        _ => report.none(&node.span, Fault::Port(given.to_owned())),
    }
}

/// An address to listen on, in canonical form.
pub(super) fn listener(node: &Node, key: &str, report: &mut Report<'_>) -> Option<SocketAddr> {
    let given = text(node, key, "an address and a port", report)?;
    match given.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(canonical(address)),
        _ => report.none(&node.span, Fault::Listen(given.to_owned())),
    }
}

/// The kernel's rule for names of interfaces: 1 to 15 bytes, no slash, colon or space.
pub(super) fn interface(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = text(node, key, "the name of an interface", report)?;
    let ok = (1..=15).contains(&given.len())
        && !matches!(given, "." | "..")
        && !given.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control());
    if !ok {
        return report.none(&node.span, Fault::Interface(given.to_owned()));
    }
    Some(given.to_owned())
}

/// A name that records and other keys use.
pub(super) fn name(
    text: &str,
    span: &Span,
    reserved: &[&str],
    report: &mut Report<'_>,
) -> Option<String> {
    let ok = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !ok {
        return report.none(span, Fault::Name(text.to_owned()));
    }
    if reserved.contains(&text) {
        return report.none(span, Fault::Reserved(text.to_owned()));
    }
    Some(text.to_owned())
}

fn account(
    node: &Node,
    key: &str,
    kind: &'static str,
    known: &BTreeMap<String, u32>,
    report: &mut Report<'_>,
) -> Option<IdRange> {
    let given = text(node, key, "an id, a range of ids or a name", report)?;
    // A name begins with a letter or `_`; anything else was meant as a number.
    if !given.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return match given.parse() {
            Ok(range) => Some(range),
            Err(error) => report.none(&node.span, Fault::Range(error)),
        };
    }
    match known.get(given) {
        Some(id) => match IdRange::new(*id, *id) {
            Ok(range) => Some(range),
            Err(error) => report.none(&node.span, Fault::Range(error)),
        },
        None => {
            let fault = Fault::Account {
                kind,
                name: given.to_owned(),
                near: nearest(given, known.keys().map(String::as_str)).map(str::to_owned),
            };
            report.none(&node.span, fault)
        }
    }
}
