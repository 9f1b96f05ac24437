//! What the engine does with a connection, whichever method brought it: upstreams and rules.

mod exe;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Destination, HostPattern, IdRange, PortRange, Protocol};

pub use exe::{ExePattern, ExePatternError};

/// Upstreams and rules; the first rule that matches decides, and none means direct.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The proxies that rules can name.
    pub upstreams: Vec<Upstream>,
    /// The rules, first one first; each upstream they name is in `upstreams`.
    pub rules: Vec<Rule>,
}

/// A proxy that connections can be sent through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name in rules and records.
    pub name: String,
    /// What it speaks.
    pub kind: UpstreamKind,
    /// Where it is.
    pub address: Destination,
    /// What it asks of us.
    pub credentials: Option<Credentials>,
}

/// What an upstream proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where a secret comes from; its value is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The value itself; written out as nothing but a sign that there is one.
    #[serde(serialize_with = "hidden")]
    Literal(String),
    /// An environment variable of the engine.
    Env(String),
    /// A file; one trailing newline is not part of the value.
    File(PathBuf),
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
}

/// Which connections: every key that is not empty must hold, its values are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The name of the destination.
    pub host: Vec<HostPattern>,
    /// The address of the destination.
    pub cidr: Vec<Cidr>,
    /// The port of the destination.
    pub port: Vec<PortRange>,
    /// The transport protocol.
    pub protocol: Vec<Protocol>,
    /// The user id of the program.
    pub uid: Vec<IdRange>,
    /// The group id of the program.
    #[serde(default)]
    pub gid: Vec<IdRange>,
    /// The program file.
    #[serde(default)]
    pub exe: Vec<ExePattern>,
    /// The name of the process (`/proc/PID/comm`, 15 bytes at most).
    #[serde(default)]
    pub command: Vec<String>,
    /// Its cgroup or one above it, as paths below the root of the unified hierarchy; the name of a
    /// unit of systemd's alone means its cgroup wherever it is.
    #[serde(default)]
    pub cgroup: Vec<String>,
    /// The application protocol that was sniffed.
    pub app: Vec<App>,
}

impl Condition {
    /// Whether it asks who the program is, which methods find out on request alone.
    ///
    /// ```
    /// use steer_core::policy::Condition;
    ///
    /// let nobody = Condition::default();
    /// assert!(!nobody.asks_for_identity());
    /// let curl = Condition { exe: vec!["curl".parse().unwrap()], ..nobody };
    /// assert!(curl.asks_for_identity());
    /// ```
    #[must_use]
    pub const fn asks_for_identity(&self) -> bool {
        let Self {
            host: _,
            cidr: _,
            port: _,
            protocol: _,
            uid,
            gid,
            exe,
            command,
            cgroup,
            app: _,
        } = self;
        !(uid.is_empty()
            && gid.is_empty()
            && exe.is_empty()
            && command.is_empty()
            && cgroup.is_empty())
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

/// A secret that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// The file could not be read.
    #[error("{path} could not be read", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SecretError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Env(name) => format!("export {name} before starting steer"),
            Self::File { path, .. } => {
                format!(
                    "put the secret into {} and make it readable by the user that runs steer",
                    path.display()
                )
            }
        }
    }
}

impl Secret {
    /// The value, read at the time of the call.
    pub fn reveal(&self) -> Result<String, SecretError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone())),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| SecretError::File {
                    path: path.clone(),
                    source,
                })?;
                Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
        }
    }
}

fn hidden<S: serde::Serializer>(_value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(hidden)")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_no_form_of_output() {
        let secret = Secret::Literal("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        let credentials = Credentials {
            username: "u".to_owned(),
            password: secret,
        };
        let text = serde_yaml::to_string(&credentials).unwrap();
        assert!(
            !text.contains("hunter2") && text.contains("hidden"),
            "{text}"
        );
    }
}
