//! What executing a file gives to a process.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{getgid, getuid};

/// What executing a file gives to a process (execve(2), capabilities(7)).
///
/// Where that is something, the dynamic loader heeds no variable that others could use against the
/// program (`AT_SECURE` in getauxval(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The user that it runs as, if not the caller's.
    pub user: Option<u32>,
    /// The group that it runs as, if not the caller's.
    pub group: Option<u32>,
    /// Whether it has capabilities of its own.
    pub capabilities: bool,
}

impl Privileges {
    /// Those of a file on its file system.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        if fstatvfs(file)?.flags().contains(FsFlags::ST_NOSUID) {
            return Ok(Self::default());
        }
        let meta = file.metadata()?;
        let set = |bits: u32| meta.mode() & bits == bits;
        Ok(Self {
            user: set(SETUID).then_some(meta.uid()),
            group: set(SETGID).then_some(meta.gid()),
            capabilities: has_capabilities(file)?,
        })
    }

    /// Whether a process of this user gains something by it, as far as privileges can be gained
    /// at all.
    #[must_use]
    pub fn are_gained(&self) -> bool {
        let Self {
            user,
            group,
            capabilities,
        } = *self;
        // Root has its capabilities anyway: a file's make no difference to it.
        let root = getuid().is_root();
        user.is_some_and(|id| id != getuid().as_raw())
            || group.is_some_and(|id| id != getgid().as_raw())
            || (capabilities && !root)
    }
}

fn has_capabilities(file: &File) -> io::Result<bool> {
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(file, "security.capability", &mut value) {
        Ok(size) => Ok(size > 0),
        Err(error) => match Errno::from_raw(error.raw_os_error()) {
            // There are none, or none are possible there.
            Errno::ENODATA | Errno::EOPNOTSUPP => Ok(false),
            other => Err(other.into()),
        },
    }
}

const SETUID: u32 = 0o4000;
/// Without the right to execute for the group the bit means locking.
const SETGID: u32 = 0o2010;
