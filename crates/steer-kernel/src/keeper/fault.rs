//! Failures as text, for a socket and a journal.

use std::error::Error;

use serde::{Deserialize, Serialize};
use steer_core::driver::DriverError;
use steer_core::instance::Instance;
use steer_core::keeper::KeeperError;
use steer_core::mark::Mark;

/// A failure with its causes and its advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// What failed and why.
    pub(crate) what: String,
    /// What to do next.
    pub(crate) help: String,
    /// What is somebody else's, where that is what failed: the engine takes another one.
    #[serde(default)]
    held: Option<Held>,
}

/// What another steering has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Held {
    /// As [`KeeperError::Marked`].
    Marked {
        instance: Instance,
        pid: u32,
        mark: Mark,
    },
    /// As [`KeeperError::SlotHeld`].
    Slot(u8),
    /// As [`KeeperError::MarkHeld`].
    Mark(Mark),
}

impl Fault {
    /// A failure in words.
    pub(crate) const fn new(what: String, help: String) -> Self {
        Self {
            what,
            help,
            held: None,
        }
    }

    /// A failure with its causes.
    pub(crate) fn because(error: &dyn Error, help: String) -> Self {
        Self::new(causes(error), help)
    }

    pub(crate) fn of(error: &KeeperError) -> Self {
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
        let held = match error {
            KeeperError::Marked {
                instance,
                pid,
                mark,
            } => Some(Held::Marked {
                instance: instance.clone(),
                pid: *pid,
                mark: *mark,
            }),
            KeeperError::SlotHeld { number } => Some(Held::Slot(*number)),
            KeeperError::MarkHeld { mark } => Some(Held::Mark(*mark)),
            _ => None,
        };
        Self {
            what,
            help: error.help(),
            held,
        }
    }
}

impl From<Fault> for KeeperError {
    fn from(fault: Fault) -> Self {
        let Fault { what, help, held } = fault;
        match held {
            Some(Held::Marked {
                instance,
                pid,
                mark,
            }) => Self::Marked {
                instance,
                pid,
                mark,
            },
            Some(Held::Slot(number)) => Self::SlotHeld { number },
            Some(Held::Mark(mark)) => Self::MarkHeld { mark },
            None => Self::Remote { what, help },
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
