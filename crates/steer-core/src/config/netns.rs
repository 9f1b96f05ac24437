//! `netns`: what passes the walls of namespaces of the command's own.

use super::document::{Node, Value};
use super::fault::Fault;
use super::listen::Listeners;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::address::PortRange;
use crate::intent::Confine;

/// Reads `netns`; the addresses of published ports are listeners as well.
pub(super) fn read(
    node: &Node,
    listeners: &mut Listeners,
    report: &mut Report<'_>,
) -> Option<Confine> {
    let section = Section::open(node, "netns", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty("netns".to_owned()));
    }
    let publish = value::list(&section, "publish", report, |node, key, report| {
        let expected = "a port, or ADDRESS:PORT:INNER";
        let publish: crate::intent::Publish =
            value::parsed(node, key, expected, Fault::Publish, report)?;
        let name = format!("{key}: {publish}");
        listeners.bind([publish.listen], &name, node, report);
        Some(publish)
    });
    Some(Confine {
        host_loopback: host_loopback(&section, report),
        publish,
    })
}

/// `true` and `false` mean all ports and none.
fn host_loopback(section: &Section<'_>, report: &mut Report<'_>) -> Vec<PortRange> {
    let all = match section.at("host_loopback").map(|node| &node.value) {
        Some(Value::Text(text)) if text == "true" => Some(vec![PortRange::ALL]),
        Some(Value::Text(text)) if text == "false" => Some(Vec::new()),
        _ => None,
    };
    all.unwrap_or_else(|| value::list(section, "host_loopback", report, value::ports))
}

/// The keys of `netns`.
const KEYS: [&str; 2] = ["host_loopback", "publish"];
