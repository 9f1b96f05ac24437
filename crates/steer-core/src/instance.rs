//! The name of one running steering, which tags every object it makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a steering in force: 1 to 12 of `a-z`, `0-9` and `_`, starting with a letter.
///
/// Tables are `steer_<instance>`, iptables chains `STEER_<instance>_…`, the journal
/// `<instance>.json`. The bound of 12 keeps chain names within the kernel's 28 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instance(String);

/// Why a text is no instance name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an instance name: use 1 to 12 of a-z, 0-9 and _, starting with a letter")]
pub struct InstanceError(pub String);

impl Instance {
    /// Parses a name.
    pub fn new(text: &str) -> Result<Self, InstanceError> {
        let ok = (1..=12).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InstanceError(text.to_owned()))
        }
    }

    /// The name for a `run` by the process `pid`: `r` and the pid, which is unique while it lives.
    #[must_use]
    pub fn of_run(pid: u32) -> Self {
        Self(format!("r{pid}"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Instance {
    type Err = InstanceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for Instance {
    type Error = InstanceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Instance> for String {
    fn from(name: Instance) -> Self {
        name.0
    }
}
