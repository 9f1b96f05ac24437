//! `rules`: what happens to which connections and requests.

mod check;
mod error;
mod field;
mod http;
mod request;
mod target;

use std::collections::HashMap;

use super::document::{Node, Span, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::traffic::protocol;
use super::{program, value};
use crate::policy::{Action, App, Condition, Http, Inspect, Rule};

pub use error::RequestFault;

/// The rules of a configuration with the places where they name upstreams.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) read: Vec<Rule>,
    pub(super) references: Vec<(String, Span)>,
}

/// Reads `rules`; a single rule is a list of one.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Rules {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Map(_) => std::slice::from_ref(node),
        Value::Null | Value::Text(_) => {
            let fault = Fault::Kind {
                key: "rules".to_owned(),
                found: node.value.kind(),
                expected: "a list, `[ { match: { … }, action: reject } ]`".to_owned(),
            };
            report.fault(&node.span, fault);
            return Rules::default();
        }
    };
    let mut rules = Rules::default();
    let mut names: HashMap<String, &Span> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(node) = item.entry("name")
            && let Some(name) = node.text()
            && let Some(first) = names.insert(name.to_owned(), &node.span)
        {
            let (name, first) = (name.to_owned(), report.line(first));
            report.fault(&node.span, Fault::DuplicateRule { name, first });
        }
        let rule = rule(index, item, &mut rules.references, report);
        rules.read.extend(rule);
    }
    rules
}

fn rule(
    index: usize,
    node: &Node,
    references: &mut Vec<(String, Span)>,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let section = Section::open(node, &format!("rules[{index}]"), KEYS, report)?;
    let name = match section.at("name") {
        None => Some(format!("rule-{}", index + 1)),
        Some(node) => value::text(node, &section.path_of("name"), "a name", report)
            .and_then(|text| value::name(text, &node.span, &RESERVED, report)),
    };
    let condition = match section.at("match") {
        None => Some(Condition::default()),
        Some(node) => condition(node, &section.path_of("match"), report),
    };
    let action = action(&section, references, report);
    let words = [("intercept", Inspect::Intercept), ("pass", Inspect::Pass)];
    let tls = section.at("tls").map_or(Some(Inspect::default()), |node| {
        let key = section.path_of("tls");
        value::word(node, &key, &words, &["intercept", "pass"], report)
    });
    let (http, respond) = match section.at("http") {
        None => (Some(Http::default()), None),
        Some(node) => match http::read(node, &section.path_of("http"), report) {
            Some(read) => (Some(read.http), read.respond),
            None => (None, None),
        },
    };
    let rule = Rule {
        name: name?,
        condition: condition?,
        action: action?,
        http: http?,
        tls: tls?,
    };
    check::check(&rule, &section, respond, report);
    Some(rule)
}

fn action(
    section: &Section<'_>,
    references: &mut Vec<(String, Span)>,
    report: &mut Report<'_>,
) -> Option<Action> {
    match (section.at("action"), section.at("upstream")) {
        (Some(_), Some(_)) => {
            let span = section.key_span("upstream").unwrap_or(section.span);
            report.none(span, Fault::RuleTwoActions)
        }
        (Some(node), None) => {
            let words = [("direct", Action::Direct), ("reject", Action::Reject)];
            let path = section.path_of("action");
            let given = value::text(node, &path, "`direct` or `reject`", report)?;
            let found = words.into_iter().find(|(word, _)| *word == given);
            found.map(|(_, action)| action).or_else(|| {
                let fault = Fault::Word {
                    key: path,
                    word: given.to_owned(),
                    near: super::nearest::nearest(given, ["direct", "reject"]),
                    known: &ACTIONS,
                };
                report.none(&node.span, fault)
            })
        }
        (None, Some(node)) => {
            let path = section.path_of("upstream");
            let name = value::text(node, &path, "the name of an upstream", report)?;
            references.push((name.to_owned(), node.span.clone()));
            Some(Action::Upstream(name.to_owned()))
        }
        // The action may be the key that has been noted.
        (None, None) if !section.known => None,
        (None, None) if section.at("http").is_some() || section.at("tls").is_some() => {
            Some(Action::Direct)
        }
        (None, None) if section.at("match").is_none() => {
            report.none(section.span, Fault::RuleEmpty)
        }
        (None, None) => report.none(section.span, Fault::RuleActionless),
    }
}

fn condition(node: &Node, path: &str, report: &mut Report<'_>) -> Option<Condition> {
    let section = Section::open(node, path, Keys::new(&MATCH_KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty(path.to_owned()));
    }
    Some(Condition {
        host: value::list(&section, "host", report, value::host),
        cidr: value::list(&section, "cidr", report, value::cidr),
        port: value::list(&section, "port", report, value::ports),
        protocol: value::list(&section, "protocol", report, protocol),
        uid: value::list(&section, "uid", report, value::uid),
        gid: value::list(&section, "gid", report, value::gid),
        exe: value::list(&section, "exe", report, program::exe),
        command: value::list(&section, "command", report, program::command),
        cgroup: value::list(&section, "cgroup", report, program::cgroup),
        app: value::list(&section, "app", report, app),
        request: request::read(&section, report),
    })
}

fn app(node: &Node, key: &str, report: &mut Report<'_>) -> Option<App> {
    let words = [
        ("tls", App::Tls),
        ("http1", App::Http1),
        ("http2", App::Http2),
        ("quic", App::Quic),
        ("dns", App::Dns),
        ("opaque", App::Opaque),
    ];
    let known = &["tls", "http1", "http2", "quic", "dns", "opaque"];
    value::word(node, key, &words, known, report)
}

/// The keys of a rule.
const KEYS: Keys = Keys::new(&["name", "match", "action", "upstream", "http", "tls"]);
/// What a rule can do, for messages.
const ACTIONS: [&str; 3] = ["direct", "reject", "upstream: NAME"];
/// The keys of a rule's `match`.
const MATCH_KEYS: [&str; 13] = [
    "host", "cidr", "port", "protocol", "uid", "gid", "exe", "command", "cgroup", "app", "method",
    "path", "header",
];
/// `cli` is the rule of the command line.
const RESERVED: [&str; 1] = ["cli"];
