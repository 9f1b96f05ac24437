//! Variables in the language of a shell, whatever their values.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::args::ShellArg;

/// What becomes of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It gets this value, and children get it too.
    Set { name: String, value: OsString },
    /// It is gone.
    Unset { name: String },
}

impl Change {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Set { name, .. } | Self::Unset { name } => name,
        }
    }
}

/// A change that a language cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsaid {
    /// Files of variables have no way to remove one.
    #[error("a file of variables cannot remove {name}")]
    Unset { name: String },
    /// JSON is text.
    #[error("the value of {name} is not UTF-8, which JSON cannot hold")]
    NotText { name: String },
    /// The readers of such files disagree about quotes within quotes, and about lines.
    #[error(
        "the value of {name} has a quote or a line's end, which readers of .env files differ in"
    )]
    Quote { name: String },
}

impl Unsaid {
    /// What to do next.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Unset { .. } => "use --shell sh, fish or json with --unset".to_owned(),
            Self::NotText { name } | Self::Quote { name } => {
                format!("use --shell sh, or unset {name} first")
            }
        }
    }
}

/// The text that makes the changes.
pub(super) fn text(changes: &[Change], shell: ShellArg) -> Result<Vec<u8>, Unsaid> {
    let line = match shell {
        ShellArg::Sh => sh,
        ShellArg::Fish => fish,
        ShellArg::Dotenv => dotenv,
        ShellArg::Json => return json(changes),
    };
    let mut text = Vec::new();
    for change in changes {
        text.extend(line(change)?);
        text.push(b'\n');
    }
    Ok(text)
}

/// POSIX: within single quotes all but the quote itself stands for itself.
fn sh(change: &Change) -> Result<Vec<u8>, Unsaid> {
    Ok(match change {
        Change::Set { name, value } => {
            let value = quoted(value, &[(b'\'', br"'\''")]);
            [b"export ", name.as_bytes(), b"=", &value].concat()
        }
        Change::Unset { name } => format!("unset {name}").into_bytes(),
    })
}

/// fish: within single quotes a backslash takes the meaning from a quote and a backslash.
fn fish(change: &Change) -> Result<Vec<u8>, Unsaid> {
    Ok(match change {
        Change::Set { name, value } => {
            let value = quoted(value, &[(b'\'', br"\'"), (b'\\', br"\\")]);
            [b"set -gx ", name.as_bytes(), b" ", &value].concat()
        }
        Change::Unset { name } => format!("set -e {name}").into_bytes(),
    })
}

/// A line as sh, systemd, Compose and libraries read it alike: plain where that is enough, which
/// `docker --env-file` needs, else in single quotes.
fn dotenv(change: &Change) -> Result<Vec<u8>, Unsaid> {
    let Change::Set { name, value } = change else {
        let name = change.name().to_owned();
        return Err(Unsaid::Unset { name });
    };
    let bytes = value.as_bytes();
    if bytes
        .iter()
        .any(|byte| matches!(byte, b'\'' | b'\n' | b'\r'))
    {
        return Err(Unsaid::Quote { name: name.clone() });
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,%@".contains(byte);
    let value = match bytes.iter().all(plain) {
        true => bytes.to_owned(),
        false => quoted(value, &[]),
    };
    Ok([name.as_bytes(), b"=", &value].concat())
}

/// An object of texts, and null for what is gone.
fn json(changes: &[Change]) -> Result<Vec<u8>, Unsaid> {
    let mut object = serde_json::Map::new();
    for change in changes {
        let (name, value) = match change {
            Change::Set { name, value } => {
                let name = name.clone();
                let Some(text) = value.to_str() else {
                    return Err(Unsaid::NotText { name });
                };
                (name, text.into())
            }
            Change::Unset { name } => (name.clone(), serde_json::Value::Null),
        };
        object.insert(name, value);
    }
    Ok(format!("{:#}\n", serde_json::Value::Object(object)).into_bytes())
}

/// A value in single quotes, with what stands for some bytes within.
fn quoted(value: &OsStr, within: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in value.as_bytes() {
        match within.iter().find(|(special, _)| special == byte) {
            Some((_, instead)) => out.extend(*instead),
            None => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests;
