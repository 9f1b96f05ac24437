//! `rules[].http`: what happens to requests and their responses.

use super::super::document::{Node, Span};
use super::super::fault::Fault;
use super::super::report::Report;
use super::super::section::{Keys, Section};
use super::super::value;
use super::error::RequestFault;
use super::{field, target};
use crate::policy::{Edits, Http, PathEdit, Plaintext, Reply, Scheme};

/// What was read, and where the parts stand that others may exclude.
pub(super) struct Read<'n> {
    pub(super) http: Http,
    /// Where `respond` is written.
    pub(super) respond: Option<&'n Span>,
}

/// Reads `http`.
pub(super) fn read<'n>(node: &'n Node, path: &str, report: &mut Report<'_>) -> Option<Read<'n>> {
    let section = Section::open(node, path, Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty(path.to_owned()));
    }
    let means = |key: &&str| *key != "plaintext";
    if section.known
        && !KEYS
            .iter()
            .filter(|k| means(k))
            .any(|k| section.at(k).is_some())
    {
        let span = section.key_span("plaintext").unwrap_or(section.span);
        let needs = "a value in `http.request`";
        let key = "http.plaintext";
        return report.none(span, Fault::Needs { key, needs });
    }
    let to = section
        .at("to")
        .and_then(|node| target::read(node, &section.path_of("to"), report));
    let words = [("refuse", Plaintext::Refuse), ("allow", Plaintext::Allow)];
    let plaintext = section.at("plaintext").and_then(|node| {
        let key = section.path_of("plaintext");
        value::word(node, &key, &words, &["refuse", "allow"], report)
    });
    let (request, path) = match section.at("request") {
        Some(node) => request(node, &section.path_of("request"), report),
        None => (Edits::default(), None),
    };
    let response = match section.at("response") {
        Some(node) => response(node, &section.path_of("response"), report),
        None => Edits::default(),
    };
    let respond = section
        .at("respond")
        .and_then(|node| reply(node, &section.path_of("respond"), report));
    let http = Http {
        to,
        request,
        path,
        response,
        respond,
        plaintext: plaintext.unwrap_or_default(),
    };
    let beside = ["to", "request", "response"].into_iter();
    if let Some(span) = section.key_span("respond") {
        for key in beside.filter(|key| section.at(key).is_some()) {
            report.fault(span, RequestFault::RespondBeside(key));
        }
    }
    let plain = |to: &crate::policy::Target| to.scheme == Scheme::Http;
    if let (Some(node), Some(_)) = (section.at("to"), http.to.as_ref().filter(|to| plain(to)))
        && http.has_secret()
        && http.plaintext == Plaintext::Refuse
    {
        report.fault(&node.span, RequestFault::ToPlain);
    }
    Some(Read {
        http,
        respond: section.key_span("respond"),
    })
}

fn request(node: &Node, path: &str, report: &mut Report<'_>) -> (Edits, Option<PathEdit>) {
    let Some(section) = Section::open(node, path, Keys::new(&REQUEST_KEYS), report) else {
        return (Edits::default(), None);
    };
    let path = section
        .at("path")
        .and_then(|node| path_edit(node, &section.path_of("path"), report));
    (edits(&section, report), path)
}

fn response(node: &Node, path: &str, report: &mut Report<'_>) -> Edits {
    match Section::open(node, path, Keys::new(&EDIT_KEYS), report) {
        Some(section) => edits(&section, report),
        None => Edits::default(),
    }
}

fn edits(section: &Section<'_>, report: &mut Report<'_>) -> Edits {
    if section.is_empty() {
        report.fault(section.span, Fault::Empty(section.path.clone()));
    }
    Edits {
        remove: value::list(section, "remove", report, field::named),
        set: field::map(section, "set", report, field::value),
        add: field::map(section, "add", report, field::value),
    }
}

fn path_edit(node: &Node, path: &str, report: &mut Report<'_>) -> Option<PathEdit> {
    let section = Section::open(node, path, Keys::new(&PATH_KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty(path.to_owned()));
    }
    let beginning = |key: &str, report: &mut Report<'_>| match section.at(key) {
        None => Some(String::new()),
        Some(node) => beginning(node, &section.path_of(key), report),
    };
    let strip = beginning("strip", report);
    let prefix = beginning("prefix", report);
    Some(PathEdit {
        strip: strip?,
        prefix: prefix?,
    })
}

/// The beginning of a path, of whole segments, in its normal form.
fn beginning(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let text = value::text(node, key, "the beginning of a path", report)?;
    let normal = crate::policy::NormalPath::of(text)
        .filter(|_| text.starts_with('/') && !text.contains(['*', '?', '#']));
    match normal {
        Some(normal) => Some(normal.as_str().trim_end_matches('/').to_owned()),
        None => report.none(&node.span, RequestFault::Beginning(text.to_owned())),
    }
}

fn reply(node: &Node, path: &str, report: &mut Report<'_>) -> Option<Reply> {
    let section = Section::open(node, path, Keys::new(&REPLY_KEYS), report)?;
    let status = section
        .required("status", "status: 403", report)
        .and_then(|node| {
            let given = value::text(node, &section.path_of("status"), "a status", report)?;
            let status = given.parse().ok().filter(|_| given.len() == 3);
            let status = status.filter(|status| (200..=599).contains(status));
            status.or_else(|| report.none(&node.span, RequestFault::Status(given.to_owned())))
        });
    let headers = field::map(&section, "headers", report, field::text);
    let body = match section.at("body") {
        Some(node) => value::text(node, &section.path_of("body"), "a text", report)?.to_owned(),
        None => String::new(),
    };
    Some(Reply {
        status: status?,
        headers,
        body,
    })
}

/// The keys of `http`.
const KEYS: [&str; 5] = ["to", "plaintext", "request", "response", "respond"];
/// The keys of what happens to a head.
const EDIT_KEYS: [&str; 3] = ["set", "add", "remove"];
/// The keys of what happens to a request.
const REQUEST_KEYS: [&str; 4] = ["set", "add", "remove", "path"];
/// The keys of what happens to a path.
const PATH_KEYS: [&str; 2] = ["strip", "prefix"];
/// The keys of a response of ours.
const REPLY_KEYS: [&str; 3] = ["status", "headers", "body"];
