//! What the engine does with a connection, whichever method brought it: upstreams and rules.

mod condition;
mod exe;
mod http;
mod path;
mod secret;
mod tls;
mod upstream;

use serde::{Deserialize, Serialize};

pub use condition::Condition;
pub use exe::{ExePattern, ExePatternError};
pub use http::{
    Edits, FieldCondition, Http, PathEdit, Plaintext, Reply, RequestCondition, Scheme, Target,
    Value, ValueSource,
};
pub use path::{NormalPath, PathPattern, PathPatternError};
pub use secret::{Secret, SecretError};
pub use tls::{Certificate, Failing, Inspect, Tls};
pub use upstream::{
    ClientCertificate, Credentials, Health, Resolving, Upstream, UpstreamKind, UpstreamLimits,
    UpstreamTls,
};

/// Upstreams and rules; the first rule that matches decides, and none means direct.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The proxies that rules can name.
    pub upstreams: Vec<Upstream>,
    /// The rules, first one first; each upstream they name is in `upstreams`.
    pub rules: Vec<Rule>,
    /// How TLS is opened, and what it is believed by.
    #[serde(default)]
    pub tls: Tls,
}

impl Policy {
    /// Whether whoever acts by it has something in memory that nobody may see: a credential, or
    /// what is inside TLS.
    ///
    /// ```
    /// assert!(!steer_core::policy::Policy::default().has_secrets());
    /// ```
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        let Self {
            upstreams,
            rules,
            tls,
        } = self;
        let login = |upstream: &Upstream| upstream.credentials.is_some();
        let secret = |rule: &Rule| rule.http.holds_secret() || rule.tls == Inspect::Intercept;
        upstreams.iter().any(login) || rules.iter().any(secret) || !tls.certificates.is_empty()
    }

    /// The environment variables that values and passwords come from, which are nothing for a
    /// program that is steered.
    ///
    /// ```
    /// assert_eq!(steer_core::policy::Policy::default().variables().count(), 0);
    /// ```
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let logins = self.upstreams.iter().filter_map(|upstream| {
            match upstream.credentials.as_ref().map(|login| &login.password) {
                Some(Secret::Env(name)) => Some(name.as_str()),
                _ => None,
            }
        });
        let values = self.rules.iter().flat_map(|rule| rule.http.values());
        logins.chain(values.filter_map(|(_, value)| match &value.source {
            ValueSource::Env(name) => Some(name.as_str()),
            ValueSource::Literal(_) | ValueSource::File(_) | ValueSource::Command { .. } => None,
        }))
    }

    /// Whether a rule looks at requests or into TLS.
    ///
    /// ```
    /// assert!(!steer_core::policy::Policy::default().looks_inside());
    /// ```
    #[must_use]
    pub fn looks_inside(&self) -> bool {
        let looks = |rule: &Rule| rule.is_about_requests() || rule.tls == Inspect::Intercept;
        self.rules.iter().any(looks)
    }
}

/// What to do with the connections that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name in records.
    pub name: String,
    /// Which connections.
    pub condition: Condition,
    /// What happens to them.
    pub action: Action,
    /// What happens to their requests.
    #[serde(default)]
    pub http: Http,
    /// Whether their TLS is opened.
    #[serde(default)]
    pub tls: Inspect,
}

impl Rule {
    /// A rule that looks at no request and opens no TLS.
    ///
    /// ```
    /// use steer_core::policy::{Action, Condition, Rule};
    ///
    /// let rule = Rule::new("nothing", Condition::default(), Action::Reject);
    /// assert!(rule.http.is_empty());
    /// ```
    #[must_use]
    pub fn new(name: &str, condition: Condition, action: Action) -> Self {
        Self {
            name: name.to_owned(),
            condition,
            action,
            http: Http::default(),
            tls: Inspect::default(),
        }
    }

    /// Whether it is asked for requests, and not for connections of which none is seen.
    ///
    /// ```
    /// use steer_core::policy::{Action, Condition, RequestCondition, Rule};
    ///
    /// let mut rule = Rule::new("posts", Condition::default(), Action::Reject);
    /// assert!(!rule.is_about_requests());
    /// rule.condition.request = RequestCondition {
    ///     method: vec!["POST".to_owned()],
    ///     ..RequestCondition::default()
    /// };
    /// assert!(rule.is_about_requests());
    /// ```
    #[must_use]
    pub const fn is_about_requests(&self) -> bool {
        !(self.condition.request.is_empty() && self.http.is_empty())
    }
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To its destination.
    Direct,
    /// Through the upstream of this name.
    Upstream(String),
    /// Refused.
    Reject,
}

/// An application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum App {
    /// TLS, what is inside unknown.
    Tls,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// QUIC.
    Quic,
    /// DNS.
    Dns,
    /// Something else.
    Opaque,
}
