//! A mapping with known keys.

use std::collections::HashMap;

use super::document::{Name, Node, Span, Value};
use super::fault::Fault;
use super::nearest::nearest;
use super::report::Report;
use super::secrecy;
use super::words::listed;

/// A mapping whose keys have been checked.
pub(super) struct Section<'n> {
    /// Its name in messages, `scope.except` for instance; empty at the top.
    pub(super) path: String,
    pub(super) span: &'n Span,
    entries: &'n [(Name, Node)],
    /// Whether every key is known; a missing one may otherwise be a misspelt one.
    pub(super) known: bool,
}

/// The keys of a section.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) known: &'static [&'static str],
    /// Keys of the format that are refused with a word of explanation.
    pub(super) unsupported: &'static [&'static str],
}

impl Keys {
    pub(super) const fn new(known: &'static [&'static str]) -> Self {
        Self {
            known,
            unsupported: &[],
        }
    }
}

impl<'n> Section<'n> {
    /// Opens a mapping, noting every key that is unknown, unsupported or stands twice.
    pub(super) fn open(
        node: &'n Node,
        path: &str,
        keys: Keys,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let key = if path.is_empty() {
                "the configuration"
            } else {
                path
            };
            let fault = Fault::Kind {
                key: key.to_owned(),
                found: node.value.kind(),
                expected: format!("a mapping of {}", listed(keys.known, "and")),
            };
            return report.none(&node.span, fault);
        };
        let mut section = Self {
            path: path.to_owned(),
            span: &node.span,
            entries,
            known: true,
        };
        section.known = section.check(keys, report);
        Some(section)
    }

    /// The value of a key, where it is written.
    pub(super) fn at(&self, key: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(_, value)| value)
    }

    /// Where a key is written.
    pub(super) fn key_span(&self, key: &str) -> Option<&'n Span> {
        self.entries
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(name, _)| &name.span)
    }

    /// The full name of a key, for messages.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether no key is written.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key that must be written.
    pub(super) fn required(
        &self,
        key: &'static str,
        example: &'static str,
        report: &mut Report<'_>,
    ) -> Option<&'n Node> {
        self.at(key).or_else(|| {
            if !self.known {
                return None;
            }
            let fault = Fault::MissingKey {
                section: format!("`{}`", self.path),
                key,
                example,
            };
            report.none(self.span, fault)
        })
    }

    /// Whether every key is known; notes those that are not.
    fn check(&self, keys: Keys, report: &mut Report<'_>) -> bool {
        duplicates(self.entries, report);
        let mut known = true;
        for (name, _) in self.entries {
            let key = name.text.as_str();
            if keys.known.contains(&key) {
                continue;
            }
            known = false;
            if keys.unsupported.contains(&key) {
                report.fault(&name.span, Fault::Unsupported(self.path_of(key)));
                continue;
            }
            let word = secrecy::word(key);
            if word != key && keys.known.contains(&word) {
                report.fault(&name.span, Fault::NoColon(word.to_owned()));
                continue;
            }
            let key = word;
            let near = nearest(key, keys.known.iter().copied());
            let fault = Fault::UnknownKey {
                key: key.to_owned(),
                section: self.path.clone(),
                near,
                known: keys.known,
            };
            report.fault(&name.span, fault);
        }
        known
    }
}

/// Notes every key that stands twice.
pub(super) fn duplicates(entries: &[(Name, Node)], report: &mut Report<'_>) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for (Name { span, text }, _) in entries {
        match seen.get(text.as_str()) {
            Some(first) => {
                let first = report.line(first);
                let key = secrecy::word(text).to_owned();
                report.fault(span, Fault::DuplicateKey { key, first });
            }
            None => {
                seen.insert(text, span);
            }
        }
    }
}
