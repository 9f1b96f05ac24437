//! Journals on disk: one file a steering, written before anything is changed.

pub mod netns;
pub mod process;

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use steer_core::instance::Instance;
use steer_core::journal::Journal;
use steer_core::keeper::KeeperError;

/// The directory of the journals: the caller's own, and nobody else may write there.
///
/// Where it is missing it is made with mode 1700 and removed when it is empty. The sticky bit says
/// that it was made here: it means nothing in a directory that only its owner can write, and one
/// that somebody else made stays.
///
/// ```
/// use steer_kernel::journal::RunDir;
///
/// let dir = RunDir::at("/nonexistent/steer");
/// assert!(dir.read()?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// Nobody else changes which journals there are while this lives.
#[derive(Debug)]
pub struct Locked<'a> {
    dir: &'a RunDir,
    lock: Flock<File>,
}

/// A file of the run directory.
#[derive(Debug)]
pub struct Entry {
    /// Whose journal it is.
    pub instance: Instance,
    /// The file.
    pub path: PathBuf,
    /// What it says, or why it cannot be read.
    pub journal: io::Result<Journal>,
}

impl RunDir {
    /// `$STEER_RUN_DIR`, else `/run/steer` for root, else `$XDG_RUNTIME_DIR/steer`.
    pub fn find() -> Result<Self, KeeperError> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(dir) = set("STEER_RUN_DIR") {
            Ok(Self(dir.into()))
        } else if nix::unistd::geteuid().is_root() {
            Ok(Self("/run/steer".into()))
        } else if let Some(dir) = set("XDG_RUNTIME_DIR") {
            Ok(Self(Path::new(&dir).join("steer")))
        } else {
            Err(KeeperError::Journal {
                path: "$XDG_RUNTIME_DIR/steer".to_owned(),
                source: io::Error::new(
                    io::ErrorKind::NotFound,
                    "neither STEER_RUN_DIR nor XDG_RUNTIME_DIR is set, and /run/steer is root's",
                ),
            })
        }
    }

    /// A directory that the caller names; it is made when the first journal is written.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of an instance.
    #[must_use]
    pub fn file(&self, instance: &Instance) -> PathBuf {
        self.0.join(format!("{instance}.json"))
    }

    /// Every journal, in the order of names; none where the directory does not exist.
    pub fn read(&self) -> Result<Vec<Entry>, KeeperError> {
        match fs::metadata(&self.0) {
            Ok(meta) => self.trust(&meta)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.error(source)),
        }
        self.read_unchecked()
    }

    /// As [`RunDir::read`], of whomever the directory is: fit for asking who lives, no more.
    pub(crate) fn read_unchecked(&self) -> Result<Vec<Entry>, KeeperError> {
        let files = match fs::read_dir(&self.0) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.error(source)),
        };
        let mut found = Vec::new();
        for file in files {
            let path = file.map_err(|source| self.error(source))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(instance) = name
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|name| Instance::new(name).ok())
            else {
                continue;
            };
            let journal = fs::read(&path)
                .and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
            // A keeper may be done between the listing and the reading.
            if !matches!(&journal, Err(e) if e.kind() == io::ErrorKind::NotFound) {
                found.push(Entry {
                    instance,
                    path,
                    journal,
                });
            }
        }
        found.sort_by(|a, b| a.instance.cmp(&b.instance));
        Ok(found)
    }

    /// Makes the directory where it is missing and waits until nobody else holds it.
    pub fn lock(&self) -> Result<Locked<'_>, KeeperError> {
        let mut vanished = None;
        for _ in 0..TRIES {
            // Whoever held the lock may have removed the directory as empty: before it could be
            // opened, or after, and then the lock is on a ghost.
            let lock = match self.hold() {
                Ok(lock) => lock,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                    ) =>
                {
                    vanished = Some(error);
                    continue;
                }
                Err(source) => return Err(self.error(source)),
            };
            let held = lock.metadata().map_err(|source| self.error(source))?;
            self.trust(&held)?;
            if fs::metadata(&self.0).is_ok_and(|m| (m.dev(), m.ino()) == (held.dev(), held.ino())) {
                return Ok(Locked { dir: self, lock });
            }
        }
        Err(self.error(vanished.unwrap_or_else(|| io::ErrorKind::ResourceBusy.into())))
    }

    fn hold(&self) -> io::Result<Flock<File>> {
        DirBuilder::new()
            .recursive(true)
            .mode(MADE_HERE | 0o700)
            .create(&self.0)?;
        let mut dir = File::open(&self.0)?;
        loop {
            match Flock::lock(dir, FlockArg::LockExclusive) {
                Ok(lock) => return Ok(lock),
                Err((file, nix::errno::Errno::EINTR)) => dir = file,
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    /// Writes a journal: the whole of it is on disk when this returns, or the last one still is.
    pub fn write(&self, journal: &Journal) -> Result<(), KeeperError> {
        let path = self.file(journal.job.instance());
        self.replace(&path, journal)
            .map_err(|source| KeeperError::Journal {
                path: path.display().to_string(),
                source,
            })
    }

    fn replace(&self, path: &Path, journal: &Journal) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(journal)?;
        let draft = path.with_extension("json.draft");
        let written = File::create(&draft)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        File::open(&self.0)?.sync_all()
    }

    /// Removes an instance's journal, and the directory when it is empty; gone already is fine.
    pub fn remove(&self, instance: &Instance) -> Result<(), KeeperError> {
        if !self.0.exists() {
            return Ok(());
        }
        self.lock()?.remove(instance)
    }

    /// Refuses a directory that others own or may write to.
    fn trust(&self, meta: &fs::Metadata) -> Result<(), KeeperError> {
        let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
        if owner == nix::unistd::geteuid().as_raw() && mode & 0o022 == 0 {
            return Ok(());
        }
        Err(KeeperError::NotOurs {
            path: self.0.display().to_string(),
            owner,
            mode,
        })
    }

    fn error(&self, source: io::Error) -> KeeperError {
        KeeperError::Journal {
            path: self.0.display().to_string(),
            source,
        }
    }
}

impl Locked<'_> {
    /// As [`RunDir::remove`].
    pub fn remove(&self, instance: &Instance) -> Result<(), KeeperError> {
        let path = self.dir.file(instance);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KeeperError::Journal {
                path: path.display().to_string(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if !self
            .lock
            .metadata()
            .is_ok_and(|meta| meta.mode() & MADE_HERE != 0)
        {
            return;
        }
        // Fails while a journal is in it, which is what keeps it.
        let _ = fs::remove_dir(&self.dir.0);
    }
}

/// The sticky bit.
const MADE_HERE: u32 = 0o1000;
/// Each try lost is somebody else's turn with the lock.
const TRIES: u32 = 1000;

#[cfg(test)]
mod tests;
