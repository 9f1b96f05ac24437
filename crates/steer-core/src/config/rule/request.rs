//! `rules[].match`: what of a request must hold.

use super::super::document::Node;
use super::super::report::Report;
use super::super::section::Section;
use super::super::value;
use super::error::RequestFault;
use super::field;
use crate::policy::{FieldCondition, PathPattern, RequestCondition};

/// Reads the keys about requests of a `match`.
pub(super) fn read(section: &Section<'_>, report: &mut Report<'_>) -> RequestCondition {
    let header = field::map(section, "header", report, |node, key, report| {
        let text = field::text(node, key, report)?;
        // Of several stars in a row one means as much.
        let is_any = !text.is_empty() && text.bytes().all(|byte| byte == b'*');
        Some((!is_any).then_some(text))
    });
    RequestCondition {
        method: value::list(section, "method", report, method),
        path: value::list(section, "path", report, path),
        header: header
            .into_iter()
            .map(|(name, value)| FieldCondition { name, value })
            .collect(),
    }
}

/// A method. Most are in capitals, and these were meant where all letters are small.
fn method(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let given = value::text(node, key, "a method", report)?;
    let is_small = given.bytes().all(|byte| byte.is_ascii_lowercase());
    if !field::is_token(given) || is_small {
        return report.none(&node.span, RequestFault::Method(given.to_owned()));
    }
    Some(given.to_owned())
}

fn path(node: &Node, key: &str, report: &mut Report<'_>) -> Option<PathPattern> {
    let wrong = |error| RequestFault::Path(error).into();
    value::parsed(node, key, "a path like \"/v1/*\"", wrong, report)
}
