//! Failures as text, for a socket and a journal.

use std::error::Error;

use serde::{Deserialize, Serialize};
use steer_core::driver::DriverError;
use steer_core::instance::Instance;
use steer_core::keeper::KeeperError;
use steer_core::mark::Mark;

/// A failure with its causes and its advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fault {
    /// What failed and why.
    pub(super) what: String,
    /// What to do next.
    pub(super) help: String,
    /// Whose mark it is, where that is what failed: the engine takes another one.
    #[serde(default)]
    marked: Option<Marked>,
}

/// As [`KeeperError::Marked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marked {
    instance: Instance,
    pid: u32,
    mark: Mark,
}

impl Fault {
    pub(super) fn of(error: &KeeperError) -> Self {
        let what = match error {
            KeeperError::Undo { first, others } => {
                let all: Vec<_> = std::iter::once(first)
                    .chain(others)
                    .map(|e| causes(e))
                    .collect();
                all.join("; ")
            }
            KeeperError::Driver(error) => causes(error),
            other => causes(other),
        };
        let marked = match error {
            KeeperError::Marked {
                instance,
                pid,
                mark,
            } => Some(Marked {
                instance: instance.clone(),
                pid: *pid,
                mark: *mark,
            }),
            _ => None,
        };
        Self {
            what,
            help: error.help(),
            marked,
        }
    }
}

impl From<Fault> for KeeperError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault {
                marked:
                    Some(Marked {
                        instance,
                        pid,
                        mark,
                    }),
                ..
            } => Self::Marked {
                instance,
                pid,
                mark,
            },
            Fault { what, help, .. } => Self::Remote { what, help },
        }
    }
}

/// One error of all that went wrong while undoing.
pub(super) fn joined(errors: Vec<DriverError>) -> Result<(), KeeperError> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let others: Vec<_> = errors.collect();
    Err(match others.is_empty() {
        true => KeeperError::Driver(first),
        false => KeeperError::Undo { first, others },
    })
}

/// An error and its causes in a line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors print their cause as part of themselves.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
