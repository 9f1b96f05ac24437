//! What rules ask of requests, and do to them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// A path with `*` for any text, `/` too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathPattern(pub String);

/// A header field that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldCondition {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, with `*` for any text; none is whatever value.
    pub value: Option<String>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueSource {
    /// The configuration itself.
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
