//! `log`: where records go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::document::{Node, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;

/// What is logged, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Where the record of each connection goes.
    pub connections: LogTarget,
    /// What becomes of the record of each request.
    pub requests: RequestLog,
    /// What a line looks like.
    pub format: LogFormat,
}

/// What becomes of the records of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestLog {
    /// They go where those of connections go.
    #[default]
    Same,
    /// They go nowhere.
    None,
}

/// What a line of the records looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Columns for people.
    Text,
}

/// Where records go, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// Nowhere; also what holds where nothing is written.
    #[default]
    None,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is made where it is missing; a relative path is taken from the
    /// working directory.
    File(PathBuf),
}

/// Reads `log`.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Log> {
    let section = Section::open(node, "log", Keys::new(&KEYS), report)?;
    let connections = match section.at("connections") {
        None => Some(LogTarget::None),
        Some(node) => target(node, &section.path_of("connections"), report),
    };
    let requests = section.at("requests").map(|node| {
        let words = [("same", RequestLog::Same), ("none", RequestLog::None)];
        value::word(node, "log.requests", &words, &["same", "none"], report)
    });
    let format = section.at("format").map(|node| {
        let words = [("json", LogFormat::Json), ("text", LogFormat::Text)];
        value::word(node, "log.format", &words, &["json", "text"], report)
    });
    Some(Log {
        connections: connections?,
        requests: requests.unwrap_or_else(|| Some(RequestLog::default()))?,
        format: format.unwrap_or_else(|| Some(LogFormat::default()))?,
    })
}

/// The keys of `log`.
const KEYS: [&str; 3] = ["connections", "requests", "format"];

fn target(node: &Node, key: &str, report: &mut Report<'_>) -> Option<LogTarget> {
    if matches!(node.value, Value::Map(_)) {
        let section = Section::open(node, key, Keys::new(&["file"]), report)?;
        let file = section.required("file", "{ file: PATH }", report)?;
        let key = section.path_of("file");
        let path = value::text(file, &key, "a path", report)?;
        if path.is_empty() {
            return report.none(&file.span, Fault::Empty(key));
        }
        return Some(LogTarget::File(PathBuf::from(path)));
    }
    let words = [
        ("stdout", LogTarget::Stdout),
        ("stderr", LogTarget::Stderr),
        ("none", LogTarget::None),
    ];
    let given = value::text(
        node,
        key,
        "`stdout`, `stderr`, `none` or `{ file: PATH }`",
        report,
    )?;
    let found = words.into_iter().find(|(word, _)| *word == given);
    found.map(|(_, target)| target).or_else(|| {
        let fault = Fault::Word {
            key: key.to_owned(),
            word: given.to_owned(),
            near: super::nearest::nearest(given, ["stdout", "stderr", "none"]),
            known: &["stdout", "stderr", "none", "{ file: PATH }"],
        };
        report.none(&node.span, fault)
    })
}
