//! Values in files.

use std::borrow::Cow;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::error::{MOST, Unsendable, ValueError};
use super::text::Text;

/// A value in a file.
pub(super) struct File {
    path: Arc<Path>,
    /// What it held, and the file that it was then.
    last: Arc<Mutex<Option<(Stamp, Text)>>>,
}

/// Which file stands at a path, and as of when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Of the inode: set by every write, whatever the program does to the other time.
    changed: (i64, i64),
}

impl File {
    /// Reads it for the first time.
    pub(super) fn new(path: &Path) -> Result<Self, ValueError> {
        let file = Self {
            path: from_home(path).into(),
            last: Arc::default(),
        };
        read(&file.path, &file.last)?;
        Ok(file)
    }

    /// The value, read again where the file is not the one that was read.
    pub(super) async fn get(&self) -> Result<Text, ValueError> {
        let path = Arc::clone(&self.path);
        let last = Arc::clone(&self.last);
        // A file can be on a disk that sleeps, or on another host.
        let reading = tokio::task::spawn_blocking(move || read(&path, &last));
        match reading.await {
            Ok(read) => read,
            Err(error) => Err(unread(&self.path, io::Error::other(error))),
        }
    }
}

#[cfg(test)]
impl File {
    /// Whether what was read is used again.
    pub(super) fn is_remembered(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some()
    }
}

fn read(path: &Path, last: &Mutex<Option<(Stamp, Text)>>) -> Result<Text, ValueError> {
    let unread = |error| unread(path, error);
    let stamp = Stamp::of(&std::fs::metadata(path).map_err(unread)?);
    {
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, text)) = &*last
            && *of == stamp
        {
            return Ok(text.clone());
        }
    }
    // A pipe in its place must not be waited for.
    let mut file = std::fs::File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unread)?;
    let about = file.metadata().map_err(unread)?;
    if !about.is_file() {
        return Err(ValueError::Kind(path.to_owned()));
    }
    let unsendable = |source| ValueError::File {
        path: path.to_owned(),
        source,
    };
    if about.size() > MOST as u64 + 2 {
        return Err(unsendable(Unsendable::Long));
    }
    // Of the largest size at once: a buffer that grows leaves what it held behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 3));
    let mut within = Read::by_ref(&mut file).take(MOST as u64 + 3);
    within.read_to_end(&mut bytes).map_err(unread)?;
    let stamp = Stamp::of(&about);
    let after = Stamp::of(&file.metadata().map_err(unread)?);
    let text = Text::found(std::mem::take(&mut *bytes)).map_err(unsendable)?;
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    // Times have a grain: what is written right after a read can bear the time of before.
    *last = (stamp == after && stamp.is_settled()).then(|| (stamp, text.clone()));
    Ok(text)
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether whatever is written from this moment on changes a time.
    fn is_settled(self) -> bool {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.unwrap_or_default();
        let grown = |(seconds, _): (i64, i64)| {
            u64::try_from(seconds).is_ok_and(|at| Duration::from_secs(at) + GRAIN < now)
        };
        grown(self.modified) && grown(self.changed)
    }
}

/// A path below the user's home, where it begins with `~/`.
fn from_home(path: &Path) -> Cow<'_, Path> {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(below), Some(home)) => Cow::Owned(home.join(below)),
        _ => Cow::Borrowed(path),
    }
}

fn unread(path: &Path, error: io::Error) -> ValueError {
    ValueError::Read {
        path: PathBuf::from(path),
        source: Arc::new(error),
    }
}

/// More than the grain of times in any file system that secrets are kept in (FAT: 2 s).
const GRAIN: Duration = Duration::from_secs(3);
