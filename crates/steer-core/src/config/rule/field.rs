//! Fields of heads: their names and values.

use std::time::Duration;

use super::super::document::{Name, Node, Value as Tree};
use super::super::fault::Fault;
use super::super::report::Report;
use super::super::section::{Keys, Section, duplicates};
use super::super::value;
use super::error::RequestFault;
use crate::policy::{Value, ValueSource};

/// A section whose keys are names of fields; each is in lower case and stands once.
pub(super) fn map<T>(
    section: &Section<'_>,
    key: &str,
    report: &mut Report<'_>,
    mut read: impl FnMut(&Node, &str, &mut Report<'_>) -> Option<T>,
) -> Vec<(String, T)> {
    let Some(node) = section.at(key) else {
        return Vec::new();
    };
    let path = section.path_of(key);
    let entries = match &node.value {
        Tree::Map(entries) if !entries.is_empty() => entries,
        Tree::Map(_) | Tree::Null => {
            let span = section.key_span(key).unwrap_or(&node.span);
            report.fault(span, Fault::Empty(path));
            return Vec::new();
        }
        Tree::Text(_) | Tree::List(_) => {
            let fault = Fault::Kind {
                key: path,
                found: node.value.kind(),
                expected: "a mapping, `{ NAME: VALUE }`".to_owned(),
            };
            report.fault(&node.span, fault);
            return Vec::new();
        }
    };
    duplicates(entries, report);
    let mut found: Vec<(String, T)> = Vec::new();
    for (Name { span, text }, node) in entries {
        let Some(name) = name(text, span, report) else {
            continue;
        };
        let is_same = |(other, _): &&(Name, Node)| other.text.eq_ignore_ascii_case(&name);
        let first = entries.iter().find(is_same).map(|(first, _)| &first.text);
        if first.is_some_and(|first| first != text) {
            report.fault(span, RequestFault::FieldTwice(name));
            continue;
        }
        if let Some(value) = read(node, &format!("{path}.{name}"), report) {
            found.push((name, value));
        }
    }
    found
}

/// The name of a field that is written as a value.
pub(super) fn named(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let text = value::text(node, key, "the name of a header field", report)?;
    name(text, &node.span, report)
}

fn name(
    text: &str,
    span: &super::super::document::Span,
    report: &mut Report<'_>,
) -> Option<String> {
    if !is_token(text) {
        return report.none(span, RequestFault::FieldName(text.to_owned()));
    }
    let name = text.to_ascii_lowercase();
    if name == "host" {
        return report.none(span, RequestFault::FieldOfHost);
    }
    if OF_FRAMING.contains(&name.as_str()) {
        return report.none(span, RequestFault::FieldOfFraming(name));
    }
    Some(name)
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let in_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(in_token)
}

/// A text that a field can have as its value (RFC 9110, section 5.5).
pub(super) fn text(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let text = value::text(node, key, "a text", report)?;
    if !is_sendable(text) {
        return report.none(&node.span, RequestFault::FieldValue(key.to_owned()));
    }
    Some(text.to_owned())
}

fn is_sendable(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || !b.is_ascii_control())
}

/// A value: a text, or a mapping with one source.
pub(super) fn value(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Value> {
    match &node.value {
        Tree::Text(_) => Some(Value {
            source: ValueSource::Literal(text(node, key, report)?),
            prefix: String::new(),
            suffix: String::new(),
        }),
        Tree::Null => report.none(&node.span, Fault::Empty(key.to_owned())),
        Tree::List(_) => {
            let fault = Fault::Kind {
                key: key.to_owned(),
                found: node.value.kind(),
                expected: "a text, or a mapping with its source".to_owned(),
            };
            report.none(&node.span, fault)
        }
        Tree::Map(_) => mapped(node, key, report),
    }
}

fn mapped(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Value> {
    let section = Section::open(node, key, Keys::new(&KEYS), report)?;
    let around = |key: &str, report: &mut Report<'_>| match section.at(key) {
        Some(node) => text(node, &section.path_of(key), report),
        None => Some(String::new()),
    };
    let prefix = around("prefix", report);
    let suffix = around("suffix", report);
    let lifetime = match (section.at("lifetime"), section.at("command")) {
        (None, _) => Some(LIFETIME),
        (Some(node), Some(_)) => time(node, &section.path_of("lifetime"), report),
        (Some(_), None) => {
            let path = section.path_of("lifetime");
            let span = section.key_span("lifetime").unwrap_or(section.span);
            report.none(span, RequestFault::Lifetime(path))
        }
    };
    let mut written = SOURCES.iter().filter(|source| section.at(source).is_some());
    let (source, other) = (written.next(), written.next());
    let source = match (source, other) {
        (Some(source), None) => *source,
        (Some(_), Some(other)) => {
            let span = section.key_span(other).unwrap_or(section.span);
            let fault = RequestFault::Sources(key.to_owned(), "several sources");
            return report.none(span, fault);
        }
        // The source may be the key that has been noted.
        (None, _) if !section.known => return None,
        (None, _) => {
            let fault = RequestFault::Sources(key.to_owned(), "no source");
            return report.none(section.span, fault);
        }
    };
    let node = section.at(source)?;
    let path = section.path_of(source);
    let source = match source {
        "literal" => ValueSource::Literal(text(node, &path, report)?),
        "env" => ValueSource::Env(variable(node, &path, report)?),
        "file" => ValueSource::File(file(node, &path, report)?),
        _ => ValueSource::Command {
            argv: command(&section, report)?,
            lifetime: lifetime?,
        },
    };
    lifetime?;
    let (prefix, suffix) = (prefix?, suffix?);
    Some(match source {
        // One text, of which no part is shown.
        ValueSource::Literal(literal) => Value {
            source: ValueSource::Literal(format!("{prefix}{literal}{suffix}")),
            prefix: String::new(),
            suffix: String::new(),
        },
        source => Value {
            source,
            prefix,
            suffix,
        },
    })
}

fn variable(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let name = value::text(node, key, "the name of a variable", report)?;
    if name.is_empty() || name.contains(['=', '\0', '$']) {
        return report.none(&node.span, RequestFault::Variable(name.to_owned()));
    }
    Some(name.to_owned())
}

fn file(node: &Node, key: &str, report: &mut Report<'_>) -> Option<std::path::PathBuf> {
    let path = value::text(node, key, "a path", report)?;
    if path.is_empty() {
        return report.none(&node.span, Fault::Empty(key.to_owned()));
    }
    let of_another = path.starts_with('~') && !path.starts_with("~/");
    if of_another || path.contains('\0') {
        return report.none(&node.span, Fault::Path(path.to_owned()));
    }
    Some(path.into())
}

/// A program and its arguments; a single word is a program alone.
fn command(section: &Section<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let node = section.at("command")?;
    let mut wrong = false;
    let words = value::list(section, "command", report, |node, key, report| {
        let word = value::text(node, key, "a program or an argument", report);
        wrong |= word.is_none();
        word.map(str::to_owned)
    });
    let program = words.first()?;
    if wrong {
        return None;
    }
    let alone = matches!(node.value, Tree::Text(_));
    let shell = alone && program.contains(char::is_whitespace);
    if program.is_empty() || shell || words.iter().any(|word| word.contains('\0')) {
        let fault = RequestFault::Command(program.clone());
        return report.none(&node.span, fault);
    }
    Some(words)
}

fn time(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Duration> {
    let given = value::text(node, key, "a time like 30s, 5m or 1h", report)?;
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let number = given.strip_suffix(unit)?;
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| is_plain)?;
        number.checked_mul(seconds)
    });
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    let time = seconds.map(Duration::from_secs);
    time.or_else(|| report.none(&node.span, RequestFault::Time(given.to_owned())))
}

/// The keys of a value.
const KEYS: [&str; 7] = [
    "literal", "env", "file", "command", "prefix", "suffix", "lifetime",
];
/// Those of them that say where it comes from.
const SOURCES: [&str; 4] = ["literal", "env", "file", "command"];
/// Fields that steer itself keeps right (RFC 9110, sections 7.6.1 and 7.8; RFC 9112, section 6).
const OF_FRAMING: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
];
/// How long the output of a command is used where nothing else is written.
const LIFETIME: Duration = Duration::from_secs(300);
/// Seconds; more is most likely a mistake in the unit.
const LONGEST: u64 = 24 * 3600;
