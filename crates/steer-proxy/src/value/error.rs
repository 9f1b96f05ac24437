//! Why a value could not be had.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A value that could not be had. Says where it was looked for, and never what was found.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A value in the configuration cannot be sent.
    #[error("a value in the configuration cannot be the value of a field")]
    Literal {
        /// Why.
        source: Unsendable,
    },
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The variable cannot be sent.
    #[error("the environment variable {name} cannot be the value of a field")]
    Env {
        /// The variable.
        name: String,
        /// Why.
        source: Unsendable,
    },
    /// The file could not be read.
    #[error("{path} could not be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// What leads to a value is no file.
    #[error("{} is no regular file", .0.display())]
    Kind(PathBuf),
    /// What the file holds cannot be sent.
    #[error("what {path} holds cannot be the value of a field", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unsendable,
    },
    /// There is no such program.
    #[error("there is no program {0:?} that can be run")]
    Program(String),
    /// The program could not be started, or not be heard.
    #[error("the program {program:?} could not be run")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The program failed.
    #[error("the program {program:?} ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The program ran for too long, and was killed.
    #[error("the program {program:?} gave no value within {} s", .limit.as_secs())]
    Slow {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
    /// What the program printed cannot be sent.
    #[error("what the program {program:?} printed cannot be the value of a field")]
    Printed {
        /// The program.
        program: String,
        /// Why.
        source: Unsendable,
    },
}

/// Why a text cannot be the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It has characters that fields do not have (RFC 9110, section 5.5).
    #[error("it holds a line break or another control character")]
    Control,
    /// It is too long.
    #[error("it is longer than {MOST} bytes")]
    Long,
}

/// Bytes of a value: more than servers take in a whole head.
pub(super) const MOST: usize = 64 * 1024;

impl ValueError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Literal { source } => source.help("the configuration"),
            Self::Unset(name) => format!("export {name} before starting steer"),
            Self::Env { name, source } => source.help(name),
            Self::Read { path, .. } => format!(
                "put the value into {} and make it readable by the user that runs steer",
                path.display()
            ),
            Self::Kind(path) => format!("make {} a file that holds the value", path.display()),
            Self::File { path, source } => source.help(&path.display().to_string()),
            Self::Program(program) => format!(
                "write the whole path of {program:?}, or put it into a directory of the PATH that \
                 steer has"
            ),
            Self::Run { program, .. } | Self::Failed { program, .. } => {
                format!("run {program:?} as the user that runs steer; what it says is in the log")
            }
            Self::Slow { program, .. } => format!(
                "have {program:?} answer sooner, without asking anybody at the terminal; its own \
                 connections may be steered too"
            ),
            Self::Printed { program, source } => source.help(&format!("what {program:?} prints")),
        }
    }
}

impl Unsendable {
    fn help(self, what: &str) -> String {
        match self {
            Self::Empty => format!("put the value into {what}"),
            Self::Control => format!("have {what} be one line of text"),
            Self::Long => format!("have {what} be the value and nothing else"),
        }
    }
}
