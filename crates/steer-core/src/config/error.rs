//! Why there is no configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::document::Span;
use super::fault::Fault;
use super::snippet::{Position, Snippet};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("the configuration {} could not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is wrong in at least one place.
    #[error("{0}")]
    Wrong(Mistakes),
}

impl ConfigError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Read { path, .. } => format!(
                "check that {} exists and that the user who runs steer may read it",
                path.display()
            ),
            Self::Wrong(Mistakes { file: None, .. }) => {
                "correct what the carets point at".to_owned()
            }
            Self::Wrong(Mistakes {
                file: Some(file), ..
            }) => format!(
                "correct what the carets point at, then try: steer check -c {}",
                file.display()
            ),
        }
    }

    /// The mistakes found, in the order of the text; none where the file could not be read.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Read { .. } => &[],
            Self::Wrong(mistakes) => &mistakes.found,
        }
    }

    /// The same error, naming the file that the text came from.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        if let Self::Wrong(mistakes) = &mut self {
            mistakes.file = Some(path.to_owned());
        }
        self
    }
}

/// Everything that is wrong in a text; shown as one paragraph a mistake.
#[derive(Debug)]
pub struct Mistakes {
    file: Option<PathBuf>,
    found: Vec<Mistake>,
    more: usize,
}

/// One thing that is wrong in a text, and where.
#[derive(Debug)]
pub struct Mistake {
    fault: Fault,
    snippet: Snippet,
}

impl Mistakes {
    /// Mistakes in the order of the text, of which `more` are counted only.
    pub(super) fn new(
        text: &str,
        mut faults: Vec<(Span, Fault)>,
        secrets: &[Span],
        more: usize,
    ) -> Self {
        faults.sort_by_key(|(span, _)| span.start);
        Self {
            file: None,
            found: faults
                .into_iter()
                .map(|(span, fault)| Mistake {
                    fault,
                    snippet: Snippet::new(text, &span, secrets),
                })
                .collect(),
            more,
        }
    }
}

impl Mistake {
    /// What is wrong.
    #[must_use]
    pub const fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.snippet.at.line
    }

    /// The column, from 1, in characters.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.snippet.at.column
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, snippet } = self;
        let Position { line, column } = snippet.at;
        writeln!(f, "{line}:{column}: {fault}")?;
        writeln!(f, "{snippet}")?;
        let margin = " ".repeat(line.to_string().len());
        write!(f, "{margin} = help: {}", fault.help())
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, found, more } = self;
        for (n, mistake) in found.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            match file {
                Some(file) => write!(f, "{}:", file.display())?,
                None => f.write_str("config:")?,
            }
            mistake.fmt(f)?;
        }
        if *more > 0 {
            write!(f, "\n\nand {more} more")?;
        }
        Ok(())
    }
}
