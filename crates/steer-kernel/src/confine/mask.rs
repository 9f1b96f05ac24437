//! The mounts inside: as outside, with some paths covered.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// A path that could not be covered.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}")]
pub(super) struct MaskError {
    pub(super) what: String,
    pub(super) source: io::Error,
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

/// Covers each path that there is: a directory by an empty one, anything else by `/dev/null`.
pub(super) fn cover(paths: &[String]) -> Result<(), MaskError> {
    for path in paths {
        let failed = |source| MaskError {
            what: format!("cover {path}"),
            source,
        };
        let Some(is_dir) = look(path).map_err(failed)? else {
            continue;
        };
        match is_dir {
            true => empty(path),
            false => null(path),
        }
        .map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

/// Whether there is a directory, or something else; `None` where there is nothing, or nothing that
/// a process of ours could come to.
fn look(path: &str) -> io::Result<Option<bool>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.is_dir())),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

fn empty(path: &str) -> Result<(), Errno> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("steer"),
        path,
        Some("tmpfs"),
        flags,
        Some("mode=0555,size=4k"),
    )
}

fn null(path: &str) -> Result<(), Errno> {
    let none: Option<&str> = None;
    mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)
}
