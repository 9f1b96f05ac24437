//! One cgroup, held by a descriptor of its directory.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::write;

use super::CgroupError;

/// One cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    dir: OwnedFd,
}

impl Cgroup {
    pub(super) fn new(path: &str, dir: OwnedFd) -> Self {
        Self {
            path: path.to_owned(),
            dir,
        }
    }

    /// The path below the hierarchy's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The number by which the kernel's rules know it: its directory's inode.
    pub fn id(&self) -> Result<u64, CgroupError> {
        fstat(&self.dir)
            .map(|stat| stat.st_ino)
            .map_err(|errno| CgroupError::failed("look at", &self.path, errno))
    }

    /// The directory, at which the kernel attaches programs.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its depth; the root is 0.
    #[must_use]
    pub fn level(&self) -> u32 {
        let steps = self.path.split('/').filter(|step| !step.is_empty());
        u32::try_from(steps.count()).expect("a path is shorter than 4 GiB")
    }

    /// A descriptor through which a process joins by writing `0`.
    ///
    /// Writing is safe between fork and exec. The right to join is checked against whoever opened
    /// the descriptor, so a child may join after it has dropped its privileges.
    pub fn procs(&self) -> Result<OwnedFd, CgroupError> {
        self.file("cgroup.procs", OFlag::O_WRONLY)
    }

    /// Moves a process into the cgroup.
    pub fn join(&self, pid: u32) -> Result<(), CgroupError> {
        write(self.procs()?, pid.to_string().as_bytes())
            .map(drop)
            .map_err(|errno| CgroupError::failed("move a process into", &self.path, errno))
    }

    /// The processes in it, without those of cgroups below.
    pub fn processes(&self) -> Result<Vec<u32>, CgroupError> {
        let text = self.read("cgroup.procs")?;
        // Processes of another pid namespace are listed as 0 and cannot be moved by us.
        Ok(text
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid != 0)
            .collect())
    }

    /// Whether a process lives in it or below.
    pub fn populated(&self) -> Result<bool, CgroupError> {
        Ok(is_populated(&self.read("cgroup.events")?))
    }

    /// A descriptor that polls as `POLLPRI` when [`Cgroup::populated`] may have changed.
    pub fn events(&self) -> Result<OwnedFd, CgroupError> {
        self.file("cgroup.events", OFlag::O_RDONLY)
    }

    /// Waits until no process is left in it or below; `false` when the deadline came first.
    pub fn wait_empty(&self, deadline: Option<Instant>) -> Result<bool, CgroupError> {
        let failed = |error: io::Error| CgroupError::Failed {
            deed: "watch",
            path: self.path.clone(),
            source: error,
        };
        let mut events = File::from(self.events()?);
        let mut text = String::new();
        loop {
            text.clear();
            // Reading arms the notification, so no change between the look and the wait is lost.
            let read = events
                .rewind()
                .and_then(|()| events.read_to_string(&mut text));
            match read {
                Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {
                    return Ok(true);
                }
                other => other.map_err(failed)?,
            };
            if !is_populated(&text) {
                return Ok(true);
            }
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// The names of the cgroups directly below.
    pub(super) fn children(&self) -> Result<Vec<String>, CgroupError> {
        let failed = |source| CgroupError::Failed {
            deed: "list",
            path: self.path.clone(),
            source,
        };
        // By the descriptor, since the hierarchy may have no place in the file tree.
        let place = format!("/proc/self/fd/{}", self.dir.as_raw_fd());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Ok(name)) = (is_directory, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Moves every process that it can into another cgroup.
    pub(super) fn move_all(&self, to: &Self) -> Result<(), CgroupError> {
        for pid in self.processes()? {
            match write(to.procs()?, pid.to_string().as_bytes()) {
                // It ended by itself.
                Ok(_) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(CgroupError::failed("empty", &self.path, errno)),
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<String, CgroupError> {
        let mut text = String::new();
        File::from(self.file(name, OFlag::O_RDONLY)?)
            .read_to_string(&mut text)
            .map_err(|source| CgroupError::Failed {
                deed: "read",
                path: self.path.clone(),
                source,
            })?;
        Ok(text)
    }

    fn file(&self, name: &str, flags: OFlag) -> Result<OwnedFd, CgroupError> {
        openat(&self.dir, name, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| CgroupError::failed("open", &self.path, errno))
    }
}

fn is_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}
