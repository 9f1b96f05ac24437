//! The mounts inside: as outside, with some paths covered.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::dev_t;
use nix::mount::{MsFlags, mount};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::makedev;
use nix::sys::statvfs::{FsFlags, statvfs};

/// A path that could not be covered.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}")]
pub(super) struct MaskError {
    pub(super) what: String,
    pub(super) source: io::Error,
}

/// Paths that are covered, also when whoever owns one makes it anew: with a file that is removed
/// outside goes what is mounted on it inside.
#[derive(Debug, Default)]
pub(super) struct Masks {
    paths: Vec<String>,
    /// Tells when something comes into a directory above one of them.
    notes: Option<Inotify>,
}

/// Lets later mounts of the host come in, and none of ours go out.
pub(super) fn detach() -> Result<(), MaskError> {
    let none: Option<&str> = None;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, flags, none).map_err(|errno| MaskError {
        what: "separate the mounts from the host's".to_owned(),
        source: errno.into(),
    })
}

impl Masks {
    /// Covers each path that there is: a directory by an empty one, anything else by `/dev/null`.
    pub(super) fn cover(paths: Vec<String>) -> Result<Self, MaskError> {
        let notes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let masks = Self {
            notes: notes.ok().filter(|_| !paths.is_empty()),
            paths,
        };
        masks.watch();
        for path in &masks.paths {
            cover(path)?;
        }
        Ok(masks)
    }

    /// Readable when something has come that may have to be covered.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.notes.as_ref().map(AsFd::as_fd)
    }

    /// Covers what has come.
    pub(super) fn renew(&self) {
        let Some(notes) = &self.notes else {
            return;
        };
        // All of them: each path is looked at anyway.
        while notes.read_events().is_ok_and(|events| !events.is_empty()) {}
        self.watch();
        for path in &self.paths {
            if let Err(error) = cover(path) {
                tracing::debug!(%error, "a path that has come stays as it is");
            }
        }
    }

    /// Watches every directory above a path; each before what is in it is looked at.
    fn watch(&self) {
        let Some(notes) = &self.notes else {
            return;
        };
        let wanted =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        for above in self
            .paths
            .iter()
            .flat_map(|path| Path::new(path).ancestors().skip(1))
        {
            // What is not there comes by something above it; what cannot be read is as it was.
            let _ = notes.add_watch(above, wanted);
        }
    }
}

fn cover(path: &str) -> Result<(), MaskError> {
    let failed = |source| MaskError {
        what: format!("cover {path}"),
        source,
    };
    let covered = match look(path).map_err(failed)? {
        Found::Nothing | Found::Covered => Ok(()),
        Found::Directory => empty(path),
        Found::Other => null(path),
    };
    covered.map_err(|errno| failed(errno.into()))
}

/// What is at a path.
enum Found {
    /// Nothing, or nothing that a process of ours could come to.
    Nothing,
    /// What we put there.
    Covered,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

fn look(path: &str) -> io::Result<Found> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            return match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => {
                    Ok(Found::Nothing)
                }
                _ => Err(error),
            };
        }
    };
    if meta.is_dir() {
        let ours = meta.mode() & 0o7777 == EMPTY_MODE && is_sealed(path)?;
        return Ok(if ours {
            Found::Covered
        } else {
            Found::Directory
        });
    }
    let null = meta.file_type().is_char_device() && meta.rdev() as dev_t == makedev(1, 3);
    Ok(if null { Found::Covered } else { Found::Other })
}

/// Whether a directory is empty and takes nothing, as ours.
fn is_sealed(path: &str) -> io::Result<bool> {
    let sealed = FsFlags::ST_RDONLY | FsFlags::ST_NOEXEC | FsFlags::ST_NODEV;
    let empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    Ok(empty && statvfs(path)?.flags().contains(sealed))
}

fn empty(path: &str) -> Result<(), Errno> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("mode={EMPTY_MODE:04o},size=4k");
    mount(
        Some("steer"),
        path,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
}

fn null(path: &str) -> Result<(), Errno> {
    let none: Option<&str> = None;
    mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)
}

/// The permissions of a directory that covers another.
const EMPTY_MODE: u32 = 0o555;
