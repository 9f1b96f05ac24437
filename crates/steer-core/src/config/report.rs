//! What reading a configuration found out besides its values.

use super::document::Span;
use super::error::{ConfigError, Mistakes};
use super::fault::Fault;
use super::snippet::Position;
use crate::host::Host;

/// Collects what is wrong, so that one run of `check` shows every mistake.
pub(super) struct Report<'t> {
    text: &'t str,
    /// Resolves the names of users and groups.
    pub(super) host: &'t Host,
    faults: Vec<(Span, Fault)>,
    more: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str, host: &'t Host) -> Self {
        Self {
            text,
            host,
            faults: Vec::new(),
            more: 0,
        }
    }

    /// Notes a mistake.
    pub(super) fn fault(&mut self, span: &Span, fault: impl Into<Fault>) {
        if self.faults.len() < SHOWN_MAX {
            self.faults.push((span.clone(), fault.into()));
        } else {
            self.more += 1;
        }
    }

    /// Notes a mistake and gives nothing, for a value that is not there.
    pub(super) fn none<T>(&mut self, span: &Span, fault: impl Into<Fault>) -> Option<T> {
        self.fault(span, fault);
        None
    }

    /// The line of a place, for a message about another one; 0 where that message would be
    /// counted only, since finding a line takes a pass over the text.
    pub(super) fn line(&self, span: &Span) -> usize {
        if self.faults.len() < SHOWN_MAX {
            Position::of(self.text, span.start).line
        } else {
            0
        }
    }

    /// The value, where nothing was wrong; no snippet shows `secrets`.
    pub(super) fn conclude<T>(self, value: Option<T>, secrets: &[Span]) -> Result<T, ConfigError> {
        let Self {
            text,
            host: _,
            faults,
            more,
        } = self;
        match value {
            Some(value) if faults.is_empty() => Ok(value),
            _ => Err(ConfigError::Wrong(Mistakes::new(
                text, faults, secrets, more,
            ))),
        }
    }
}

/// Mistakes that are shown; the others are counted.
const SHOWN_MAX: usize = 20;
