//! Values that are never shown.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// Writes a sign that there is a value.
pub(super) fn hidden<S: serde::Serializer>(_value: &str, serializer: S) -> Result<S::Ok, S::Error> {
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
    use crate::policy::Credentials;

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
