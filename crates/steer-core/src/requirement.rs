//! What a method needs of a host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::Presence;

/// Something that a method needs, whether it is there, and what to do where it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What is needed: `CAP_NET_ADMIN`, `nf_tables`.
    pub what: String,
    /// Whether it is there.
    pub presence: Presence,
    /// What to do to have it, often a command to paste.
    pub remedy: String,
}

impl Requirement {
    /// A requirement with its answer and remedy.
    pub fn new(what: impl Into<String>, presence: Presence, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            presence,
            remedy: remedy.into(),
        }
    }

    /// Whether it is known to be missing.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self.presence, Presence::Absent(_))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            presence,
            remedy,
        } = self;
        match presence {
            Presence::Present => write!(f, "{what}: present"),
            Presence::Absent(why) => write!(f, "{what}: missing ({why}); {remedy}"),
            Presence::Unknown(why) => write!(f, "{what}: cannot tell ({why}); {remedy}"),
        }
    }
}
