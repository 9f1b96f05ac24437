//! What rules ask of requests, and do to them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PathPattern;
use super::exe::fits;
use super::secret::hidden;
use crate::address::HostName;

/// What of a request must hold; a key without values holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCondition {
    /// The method, as it is written (methods are case-sensitive: RFC 9110, section 9.1).
    pub method: Vec<String>,
    /// The path, without the query.
    pub path: Vec<PathPattern>,
    /// Header fields, all of which must hold.
    pub header: Vec<FieldCondition>,
}

impl RequestCondition {
    /// Whether it asks nothing.
    ///
    /// ```
    /// assert!(steer_core::policy::RequestCondition::default().is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self {
            method,
            path,
            header,
        } = self;
        method.is_empty() && path.is_empty() && header.is_empty()
    }
}

/// A header field that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldCondition {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, with `*` for any text; none is whatever value.
    pub value: Option<String>,
}

impl FieldCondition {
    /// Whether one of a field's values is meant.
    ///
    /// ```
    /// use steer_core::policy::FieldCondition;
    ///
    /// let condition = FieldCondition {
    ///     name: "accept".to_owned(),
    ///     value: Some("text/*".to_owned()),
    /// };
    /// assert!(condition.fits(b"text/html"));
    /// assert!(!condition.fits(b"image/png"));
    /// ```
    #[must_use]
    pub fn fits(&self, value: &[u8]) -> bool {
        let pattern = self.value.as_deref();
        pattern.is_none_or(|pattern| fits(pattern.as_bytes(), value))
    }
}

/// What a rule does to its requests and their responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Where they go instead.
    pub to: Option<Target>,
    /// What becomes of the requests' heads.
    pub request: Edits,
    /// What becomes of the paths.
    pub path: Option<PathEdit>,
    /// What becomes of the responses' heads.
    pub response: Edits,
    /// The response that is given without asking anybody.
    pub respond: Option<Reply>,
    /// Whether secrets may go to whom nobody has verified.
    pub plaintext: Plaintext,
}

impl Http {
    /// Whether it does nothing, so that no request has to be looked at.
    ///
    /// ```
    /// assert!(steer_core::policy::Http::default().is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self {
            to,
            request,
            path,
            response,
            respond,
            plaintext: _,
        } = self;
        to.is_none()
            && request.is_empty()
            && path.is_none()
            && response.is_empty()
            && respond.is_none()
    }

    /// Whether its requests carry a secret to the server, which then has to prove its name.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        let Edits { set, add, .. } = &self.request;
        set.iter()
            .chain(add)
            .any(|(name, value)| value.is_secret(name))
    }

    /// The values of fields, of requests and responses, each with the name of its field.
    pub fn values(&self) -> impl Iterator<Item = &(String, Value)> {
        let edits = [&self.request, &self.response].into_iter();
        edits.flat_map(|edits| edits.set.iter().chain(&edits.add))
    }

    /// Whether it holds a secret for anybody, the client too.
    #[must_use]
    pub(super) fn holds_secret(&self) -> bool {
        self.values().any(|(name, value)| value.is_secret(name))
    }
}

/// Changes of a head, in this order: remove, set, add. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// Fields that go, with all their values.
    pub remove: Vec<String>,
    /// Fields that get this one value.
    pub set: Vec<(String, Value)>,
    /// Values that are added to what is there.
    pub add: Vec<(String, Value)>,
}

impl Edits {
    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { remove, set, add } = self;
        remove.is_empty() && set.is_empty() && add.is_empty()
    }
}

/// The value of a field: what its source gives, between two texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Value {
    /// Where it comes from.
    pub source: ValueSource,
    /// What stands before it, `Bearer ` for instance.
    pub prefix: String,
    /// What stands behind it.
    pub suffix: String,
}

impl Value {
    /// Whether it may only go to a server that has proven its name: whatever is not written into
    /// the configuration itself, and the fields that carry credentials (RFC 9110, section 11; RFC
    /// 6265).
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        let credentials = ["authorization", "proxy-authorization", "cookie"];
        !matches!(self.source, ValueSource::Literal(_)) || credentials.contains(&name)
    }
}

/// Where a value comes from. What is written into the configuration is shown by no form of output:
/// it may be a credential under any name.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueSource {
    /// The configuration itself.
    #[serde(serialize_with = "hidden")]
    Literal(String),
    /// An environment variable of the engine.
    Env(String),
    /// A file, read again when it has changed; one trailing newline is not part of the value.
    File(PathBuf),
    /// What a program prints, without one trailing newline.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// How long what it printed is used.
        lifetime: Duration,
    },
}

impl fmt::Debug for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command { argv, lifetime } => f
                .debug_struct("Command")
                .field("argv", argv)
                .field("lifetime", lifetime)
                .finish(),
        }
    }
}

/// Where a request goes instead of its own destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Whether TLS is spoken there.
    pub scheme: Scheme,
    /// Its name, which it has to prove under `https`.
    pub host: HostName,
    /// Its port.
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In plain text.
    Http,
    /// By TLS, verified.
    Https,
}

/// What becomes of a request's path; the query stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathEdit {
    /// What is taken from its front, where it begins so (whole segments).
    pub strip: String,
    /// What is put before the rest.
    pub prefix: String,
}

/// A response of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status, 200 to 599.
    pub status: u16,
    /// Its fields, names in lower case; the length is added.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// Whether secrets may go to a server that has not proven its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plaintext {
    /// Only by TLS, verified for the name that the request is for.
    #[default]
    Refuse,
    /// In plain text as well, to the address that the engine finds for the name.
    Allow,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Value {
        Value {
            source: ValueSource::Literal(text.to_owned()),
            prefix: String::new(),
            suffix: String::new(),
        }
    }

    #[test]
    fn a_literal_value_is_shown_by_no_form_of_output() {
        let edits = Edits {
            remove: Vec::new(),
            set: vec![("authorization".to_owned(), literal("hunter2"))],
            add: vec![("x-api-key".to_owned(), literal("hunter2"))],
        };
        let yaml = serde_yaml::to_string(&edits).unwrap();
        let json = serde_json::to_string(&edits).unwrap();
        for text in [format!("{edits:?}"), format!("{edits:#?}"), yaml, json] {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("authorization"), "{text}");
        }
    }

    #[test]
    fn what_is_kept_elsewhere_and_every_credential_is_a_secret() {
        assert!(literal("x").is_secret("authorization"));
        assert!(literal("x").is_secret("cookie"));
        assert!(!literal("x").is_secret("x-env"));
        let kept = Value {
            source: ValueSource::Env("TOKEN".to_owned()),
            ..literal("")
        };
        assert!(kept.is_secret("x-env"));
        let asks = |request| Http {
            request,
            ..Http::default()
        };
        let set = |name: &str, value: Value| Edits {
            set: vec![(name.to_owned(), value)],
            ..Edits::default()
        };
        assert!(!asks(set("x-env", literal("x"))).has_secret());
        assert!(asks(set("x-env", kept)).has_secret());
    }
}
