//! What a program file is, read before it starts.
//!
//! ```text
//! name ─> search (PATH) ─> script (#!) ─> elf ─> Program
//! ```
//!
//! Methods that need the dynamic loader, or a program's goodwill, ask here whether there is hope.
//! Nothing is executed, and the file is another's: every length in it is bounded.

mod elf;
mod privileges;
mod script;
mod search;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use elf::{Class, Elf, Linking};
pub use privileges::Privileges;

/// What would be executed when a command is started.
///
/// ```
/// use steer_core::program::{Image, Program};
/// let shell = Program::find("sh".as_ref())?;
/// assert!(matches!(shell.image, Image::Elf(_)));
/// # Ok::<(), steer_core::program::ProgramError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file that the command names.
    pub path: PathBuf,
    /// The interpreters that its first line leads to, in turn; the last one is executed.
    pub interpreters: Vec<PathBuf>,
    /// What the file that is executed is.
    pub image: Image,
    /// What executing it gives to a process.
    pub privileges: Privileges,
}

/// What a file is to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// An ELF program.
    Elf(Elf),
    /// Something that the kernel gives to whoever registered for it, or nobody.
    Other,
}

/// Why a program could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such program.
    #[error("{program}: command not found")]
    NotFound {
        /// Its name as given.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("{program}: cannot be executed")]
    NotExecutable {
        /// Its name as given.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The file may be executed and not be read, or lies on something broken.
    #[error("{path} could not be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl ProgramError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NotFound { .. } => {
                "check the name and PATH; options of steer go before `--`".to_owned()
            }
            Self::NotExecutable { .. } => {
                "check its permissions, and that it is a program".to_owned()
            }
            Self::Unreadable { path, .. } => format!("make it readable: chmod +r {path}"),
        }
    }

    /// The exit status of a program that could not start its command, as `env` and shells have it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Unreadable { .. } => 125,
        }
    }
}

impl Program {
    /// The file that a command's name means, as execvp(3) finds it.
    ///
    /// # Errors
    /// There is none, or it cannot be executed.
    pub fn locate(name: &OsStr) -> Result<PathBuf, ProgramError> {
        search::find(name, std::env::var_os("PATH").as_deref())
    }

    /// The program that a command's name means.
    ///
    /// # Errors
    /// There is none, or it cannot be executed or read.
    pub fn find(name: &OsStr) -> Result<Self, ProgramError> {
        Self::read(&Self::locate(name)?)
    }

    /// The program in a file.
    ///
    /// # Errors
    /// The file cannot be read, or its first line leads to none that can be executed.
    pub fn read(path: &Path) -> Result<Self, ProgramError> {
        let mut interpreters: Vec<PathBuf> = Vec::new();
        loop {
            let executed = interpreters.last().map_or(path, PathBuf::as_path);
            let unreadable = |source| ProgramError::Unreadable {
                path: executed.display().to_string(),
                source,
            };
            let file = File::open(executed).map_err(unreadable)?;
            let head = file.part(0, script::LONGEST).map_err(unreadable)?;
            let next = match script::interpreter(&head) {
                Some(line) => line.program()?,
                // execvp(3) gives what the kernel does not know to the shell.
                None if is_text(&head) => PathBuf::from(SHELL),
                None => {
                    return Ok(Self {
                        path: path.to_owned(),
                        image: elf::read(&file)
                            .map_err(unreadable)?
                            .map_or(Image::Other, Image::Elf),
                        privileges: Privileges::of(&file).map_err(unreadable)?,
                        interpreters,
                    });
                }
            };
            if interpreters.len() == script::DEEPEST {
                return Err(ProgramError::NotExecutable {
                    program: path.display().to_string(),
                    source: nix::errno::Errno::ELOOP.into(),
                });
            }
            interpreters.push(next);
        }
    }

    /// The file that is executed: the program, or the last of its interpreters.
    #[must_use]
    pub fn executed(&self) -> &Path {
        self.interpreters.last().unwrap_or(&self.path)
    }
}

/// Whether a file without a magic number would be read by a shell, by the rule of bash: no zero
/// byte in its first line.
fn is_text(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
    !line.contains(&0)
}

/// Bytes that are read in pieces.
trait Parts {
    /// At most `most` bytes from an offset, fewer at the end.
    fn part(&self, offset: u64, most: usize) -> io::Result<Vec<u8>>;
}

impl Parts for File {
    fn part(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        // Offsets beyond what the kernel takes are beyond the end of every file.
        if i64::try_from(offset).is_err() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; most];
        let mut read = 0;
        while read < most {
            match self.read_at(&mut bytes[read..], offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What lies beyond the largest offset: nothing.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Who reads a program that the kernel does not know.
const SHELL: &str = "/bin/sh";

#[cfg(test)]
mod tests;
