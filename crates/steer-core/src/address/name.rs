use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host name: lower-case, without a trailing dot, never an IP literal.
///
/// Accepts what resolvers accept, underscores included; at most 253 bytes, labels of 1 to 63.
///
/// ```
/// use steer_core::address::HostName;
/// assert_eq!(HostName::new("WWW.Example.com.").unwrap().as_str(), "www.example.com");
/// assert!(HostName::new("192.0.2.1").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name: use letters, digits, '-', '_' and dots, at most 253 bytes")]
pub struct HostNameError(pub String);

impl HostName {
    /// Parses and normalises a name.
    pub fn new(text: &str) -> Result<Self, HostNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let labels_ok = name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        if name.len() > 253 || !labels_ok || name.parse::<IpAddr>().is_ok() {
            return Err(HostNameError(text.to_owned()));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

/// A name, or `*.name` for every name below it (not the name itself).
///
/// ```
/// use steer_core::address::{HostName, HostPattern};
/// let below: HostPattern = "*.internal".parse().unwrap();
/// assert!(below.matches(&HostName::new("db.internal").unwrap()));
/// assert!(!below.matches(&HostName::new("internal").unwrap()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Exactly this name.
    Exact(HostName),
    /// Every name that ends in a dot and this name.
    Below(HostName),
}

impl HostPattern {
    /// Whether a name is meant.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(apex) => name
                .as_str()
                .strip_suffix(apex.as_str())
                .is_some_and(|head| head.ends_with('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(apex) => write!(f, "*.{apex}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("*.") {
            Some(apex) => Ok(Self::Below(HostName::new(apex)?)),
            None => Ok(Self::Exact(HostName::new(text)?)),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}
