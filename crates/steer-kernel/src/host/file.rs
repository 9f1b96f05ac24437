//! Hosts as files, so that a plan is the same text on any machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use steer_core::host::Host;

/// Why a host's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file could not be read.
    #[error("the host file {} could not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a host.
    #[error("{} is not a host file", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The file could not be written.
    #[error("the host file {} could not be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HostError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path; `steer plan --save-host FILE` writes one",
            Self::Parse { .. } => {
                "a file of another version of steer lacks keys or has others: write it again with \
                 `steer plan --save-host FILE` on the host that is meant"
            }
            Self::Write { .. } => "check that the directory exists and can be written",
        }
    }
}

/// Reads a host that [`save`] wrote.
pub fn load(path: &Path) -> Result<Host, HostError> {
    let text = fs::read(path).map_err(|source| HostError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| HostError::Parse {
        path: path.to_owned(),
        source,
    })
}

/// Writes a host as JSON.
pub fn save(host: &Host, path: &Path) -> Result<(), HostError> {
    let mut text = serde_json::to_vec_pretty(host).expect("a host has string keys only");
    text.push(b'\n');
    fs::write(path, text).map_err(|source| HostError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_with_its_name_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        fs::write(&path, "{\"kernel\": 7}").unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("host.json"), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("line 1 column 12"), "{cause}");
        assert!(error.help().contains("--save-host"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let mut value = serde_json::to_value(Host::example()).unwrap();
        value["colour"] = "red".into();
        fs::write(&path, value.to_string()).unwrap();
        assert!(matches!(load(&path), Err(HostError::Parse { .. })));
    }

    #[test]
    fn a_file_that_lacks_a_key_is_refused_with_how_to_renew_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let mut value = serde_json::to_value(Host::example()).unwrap();
        value.as_object_mut().unwrap().remove("neighbours");
        fs::write(&path, value.to_string()).unwrap();
        let error = load(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("neighbours"), "{cause}");
        assert!(error.help().contains("another version"), "{}", error.help());
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let error = load(Path::new("/nonexistent/host.json")).unwrap_err();
        assert!(matches!(error, HostError::Read { .. }));
    }
}
