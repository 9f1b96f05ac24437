//! `tls`: the local certificate authority, and whose certificates are believed and shown.

use std::path::PathBuf;

use super::document::{Node, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::policy::{Certificate, Failing, Tls};

/// Reads `tls`.
///
/// No file is looked at: `steer check` is to read a configuration that is meant for another host.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Tls> {
    let section = Section::open(node, "tls", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty("tls".to_owned()));
    }
    let authority = section
        .at("authority")
        .and_then(|node| path(node, &section.path_of("authority"), report));
    let roots = value::list(&section, "roots", report, path);
    let words = [("refuse", Failing::Refuse), ("pass", Failing::Pass)];
    let failing = section.at("failing").and_then(|node| {
        let key = section.path_of("failing");
        value::word(node, &key, &words, &["refuse", "pass"], report)
    });
    Some(Tls {
        authority,
        roots,
        failing: failing.unwrap_or_default(),
        certificates: certificates(&section, report),
    })
}

fn certificates(section: &Section<'_>, report: &mut Report<'_>) -> Vec<Certificate> {
    let mut index = 0;
    value::list(section, "certificates", report, |node, key, report| {
        let path = format!("{key}[{index}]");
        index += 1;
        certificate(node, &path, report)
    })
}

fn certificate(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Certificate> {
    let section = Section::open(node, key, Keys::new(&CERTIFICATE_KEYS), report)?;
    // Shown to every server that asks, it would tell each of them who is there.
    let named = section.required("host", "host: [NAME]", report);
    let host = value::list(&section, "host", report, value::host);
    let mut file = |key, example| {
        let node = section.required(key, example, report)?;
        path(node, &section.path_of(key), report)
    };
    let chain = file("chain", "chain: /PATH/chain.pem");
    let private = file("key", "key: /PATH/key.pem");
    if host.is_empty() {
        return None;
    }
    named?;
    Some(Certificate {
        host,
        chain: chain?,
        key: private?,
    })
}

/// A path. A relative one is taken from the working directory, `~/…` from the user's home.
fn path(node: &Node, key: &str, report: &mut Report<'_>) -> Option<PathBuf> {
    let given = match &node.value {
        // `authority: ~` is YAML's null.
        Value::Null => return report.none(&node.span, Fault::Empty(key.to_owned())),
        _ => value::text(node, key, "a path", report)?,
    };
    if given.is_empty() {
        return report.none(&node.span, Fault::Empty(key.to_owned()));
    }
    let of_another = given.starts_with('~') && !given.starts_with("~/");
    if of_another || given.contains('\0') {
        return report.none(&node.span, Fault::Path(given.to_owned()));
    }
    Some(PathBuf::from(given))
}

/// The keys of `tls`.
const KEYS: [&str; 4] = ["authority", "roots", "failing", "certificates"];
/// The keys of a certificate.
const CERTIFICATE_KEYS: [&str; 3] = ["host", "chain", "key"];
