//! What went wrong, as it is told to the user: the failure, its causes, what to do.

use std::error::Error;
use std::fmt;

use steer::auto::{Refused, Why};
use steer::core::method::Method;

/// An error with its advice.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    help: Option<String>,
}

impl Failure {
    /// A failure with its chain of causes and what to do next.
    pub(crate) fn new(error: &dyn Error, help: impl Into<String>) -> Self {
        let mut what = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent errors repeat their source's words.
            if !what.ends_with(&text) {
                what.push_str(": ");
                what.push_str(&text);
            }
            source = cause.source();
        }
        Self {
            what,
            help: Some(help.into()).filter(|h| !h.is_empty()),
        }
    }

    /// A failure in words of our own.
    pub(crate) fn plain(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: Some(help.into()),
        }
    }
}

impl Failure {
    /// The failure as the reason why a method was passed over.
    pub(crate) fn refusal(self, method: Method) -> Refused {
        let Self { what, help } = self;
        Refused {
            method,
            why: Why::Tried {
                why: what,
                remedy: help.unwrap_or_default(),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steer: {}", self.what)?;
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}
