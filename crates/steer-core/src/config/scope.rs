//! `scope`: whose traffic.

use super::document::{Node, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::intent::{Scope, Selector};

/// Reads `scope`. The command of `steer run` is no key: it is whatever is started.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Scope> {
    let section = Section::open(node, "scope", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        report.fault(section.span, Fault::Empty("scope".to_owned()));
        return None;
    }
    let of = selector(&section, report);
    let except = section
        .at("except")
        .and_then(|node| Section::open(node, "scope.except", Keys::new(&EXCEPT_KEYS), report))
        .map(|except| {
            if except.is_empty() {
                report.fault(except.span, Fault::Empty(except.path.clone()));
            }
            selector(&except, report)
        })
        .unwrap_or_default();
    if section.known && !KEYS.iter().any(|key| section.at(key).is_some_and(says)) {
        report.fault(section.span, Fault::Empty("scope".to_owned()));
    }
    Some(Scope {
        command: false,
        of,
        except,
    })
}

fn selector(section: &Section<'_>, report: &mut Report<'_>) -> Selector {
    let truth = |key: &str, report: &mut Report<'_>| {
        section
            .at(key)
            .and_then(|node| value::truth(node, &section.path_of(key), report))
            .unwrap_or(false)
    };
    Selector {
        host: truth("host", report),
        cgroup: value::list(section, "cgroup", report, cgroup),
        uid: value::list(section, "uid", report, value::uid),
        gid: value::list(section, "gid", report, value::gid),
        interface: value::list(section, "interface", report, interface),
        netns: section
            .at("netns")
            .and_then(|node| netns(node, &section.path_of("netns"), report)),
        inbound: truth("inbound", report),
    }
}

/// Whether a key chooses anybody.
fn says(node: &Node) -> bool {
    node.text() != Some("false")
}

/// A path below the root of the unified hierarchy, without slashes at its ends.
fn cgroup(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = value::text(node, key, "the path of a cgroup", report)?;
    let path = given.trim_matches('/');
    let part_ok = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains(char::is_control)
    };
    let mounted = path == "sys/fs/cgroup" || path.starts_with("sys/fs/cgroup/");
    if mounted || !path.split('/').all(part_ok) {
        return report.none(&node.span, Fault::Cgroup(given.to_owned()));
    }
    Some(path.to_owned())
}

/// The kernel's rule for names of interfaces: 1 to 15 bytes, no slash, colon or space.
fn interface(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = value::text(node, key, "the name of an interface", report)?;
    let ok = (1..=15).contains(&given.len())
        && !matches!(given, "." | "..")
        && !given.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control());
    if !ok {
        return report.none(&node.span, Fault::Interface(given.to_owned()));
    }
    Some(given.to_owned())
}

fn netns(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    if matches!(&node.value, Value::Null) || node.text() == Some("") {
        return report.none(&node.span, Fault::Empty(key.to_owned()));
    }
    value::text(node, key, "a path, a process id or a container", report).map(str::to_owned)
}

/// The keys of `scope`.
const KEYS: [&str; 8] = [
    "host",
    "cgroup",
    "uid",
    "gid",
    "interface",
    "netns",
    "inbound",
    "except",
];
/// The keys of `scope.except`: subtracting the whole host would leave nobody.
const EXCEPT_KEYS: [&str; 6] = ["cgroup", "uid", "gid", "interface", "netns", "inbound"];
