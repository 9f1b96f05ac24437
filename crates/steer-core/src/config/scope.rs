//! `scope`: whose traffic.

use super::document::{Node, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::{program, value};
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
        .and_then(|node| Section::open(node, "scope.except", EXCEPT_KEYS, report));
    if let Some(except) = except.as_ref().filter(|except| except.is_empty()) {
        report.fault(except.span, Fault::Empty(except.path.clone()));
    }
    arrivals_stand_alone(&section, except.as_ref(), report);
    let except = except.map_or_else(Selector::default, |except| selector(&except, report));
    if section.known && !KEYS.iter().any(|key| section.at(key).is_some_and(says)) {
        report.fault(section.span, Fault::Empty("scope".to_owned()));
    }
    Some(Scope {
        command: false,
        of,
        except,
    })
}

/// Notes keys about senders, which are programs of this host, beside keys about packets that
/// arrive, which have no sender here; and both kinds of arrivals.
fn arrivals_stand_alone(
    section: &Section<'_>,
    except: Option<&Section<'_>>,
    report: &mut Report<'_>,
) {
    let first = |keys: &'static [&'static str]| {
        std::iter::once(section)
            .chain(except)
            .flat_map(|section| keys.iter().map(move |key| (section, *key)))
            .find(|(section, key)| section.at(key).is_some_and(says))
    };
    let mut apart = |key: Option<(&Section<'_>, &str)>, other: Option<(&Section<'_>, &str)>| {
        let (Some((section, key)), Some((elsewhere, other))) = (key, other) else {
            return;
        };
        let fault = Fault::Apart {
            key: section.path_of(key),
            other: elsewhere.path_of(other),
        };
        let span = elsewhere.key_span(other).unwrap_or(elsewhere.span);
        report.fault(span, fault);
    };
    apart(first(&ARRIVALS), first(&SENDERS));
    let [interface, inbound] = ARRIVALS.map(|key| {
        let chosen = section.at(key).is_some_and(says);
        chosen.then_some((section, key))
    });
    apart(interface, inbound);
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
        cgroup: value::list(section, "cgroup", report, program::cgroup),
        uid: value::list(section, "uid", report, value::uid),
        gid: value::list(section, "gid", report, value::gid),
        command: value::list(section, "command", report, program::command),
        pid: value::list(section, "pid", report, program::pid),
        interface: value::list(section, "interface", report, value::interface),
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

/// A path, a process id, or the name or id of a container; which of them is there, the host knows.
fn netns(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    if matches!(&node.value, Value::Null) || node.text() == Some("") {
        return report.none(&node.span, Fault::Empty(key.to_owned()));
    }
    let given = value::text(node, key, "a path, a process id or a container", report)?;
    let path = given.starts_with('/') && !given.contains(char::is_control);
    let process = given.bytes().all(|b| b.is_ascii_digit());
    let zero = process && given.bytes().all(|b| b == b'0');
    let container = given.len() <= 255
        && given.starts_with(|c: char| c.is_ascii_alphanumeric())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if zero || !(path || process || container) {
        return report.none(&node.span, Fault::Netns(given.to_owned()));
    }
    Some(given.to_owned())
}

/// The keys of `scope`.
const KEYS: [&str; 10] = [
    "host",
    "cgroup",
    "uid",
    "gid",
    "command",
    "pid",
    "interface",
    "netns",
    "inbound",
    "except",
];
/// The keys of `scope.except`: subtracting the whole host would leave nobody, and to be left out a
/// process has to be in a cgroup of its own.
const EXCEPT_KEYS: Keys = Keys {
    known: &[
        "cgroup",
        "uid",
        "gid",
        "command",
        "interface",
        "netns",
        "inbound",
    ],
    unsupported: &["pid"],
};
/// Keys about programs that send.
const SENDERS: [&str; 6] = ["host", "cgroup", "uid", "gid", "command", "pid"];
/// Keys about packets that arrive.
const ARRIVALS: [&str; 2] = ["interface", "inbound"];
