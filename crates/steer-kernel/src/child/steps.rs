//! What a command does of its own between fork and exec.

use std::env;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{chdir, write};

use crate::confine::Entrance;
use crate::seccomp::{self, Program, Supervision};

/// The steps of a plan's settings, prepared so that taking them makes system calls alone.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// The cgroup's list of processes.
    pub(super) cgroup: Option<OwnedFd>,
    /// The namespaces.
    pub(super) enter: Option<Entering>,
    /// What is left of the system calls; it comes last, since it holds for the other steps too.
    pub(super) filter: Option<Program>,
    /// Who is asked about the rest of them.
    pub(super) supervision: Option<Supervision>,
}

/// Namespaces, and the working directory, which is found again by its path: a descriptor would
/// lead to the mounts outside.
#[derive(Debug)]
pub(crate) struct Entering {
    entrance: Arc<Entrance>,
    directory: CString,
    /// Files, and what the command finds in their place.
    covers: Vec<(CString, CString)>,
}

/// A step that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Join the cgroup.
    Cgroup,
    /// Enter the namespace of users.
    User,
    /// Enter the namespace of the network.
    Network,
    /// Enter the namespace of mounts.
    Mounts,
    /// Put a file in the place of another.
    Cover,
    /// Go back to the working directory.
    Directory,
    /// Install the filter.
    Filter,
    /// Come under the supervisor.
    Supervisor,
}

impl Entering {
    /// Reads where the caller is.
    pub(super) fn into(entrance: Arc<Entrance>) -> io::Result<Self> {
        let directory = env::current_dir()?.into_os_string().into_vec();
        Ok(Self {
            entrance,
            directory: CString::new(directory)?,
            covers: Vec::new(),
        })
    }

    /// Has the command find a file in the place of another.
    pub(super) fn cover(&mut self, path: &Path, with: &Path) -> io::Result<()> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        self.covers.push((text(path)?, text(with)?));
        Ok(())
    }

    fn take(&self) -> Result<(), (Step, Errno)> {
        let Self {
            entrance,
            directory,
            covers,
        } = self;
        // The right to enter the others comes with the first.
        let all = [
            (Step::User, entrance.user(), CloneFlags::CLONE_NEWUSER),
            (Step::Network, entrance.network(), CloneFlags::CLONE_NEWNET),
            (Step::Mounts, entrance.mounts(), CloneFlags::CLONE_NEWNS),
        ];
        for (step, namespace, kind) in all {
            setns(namespace, kind).map_err(|errno| (step, errno))?;
        }
        let none: Option<&CStr> = None;
        for (path, with) in covers {
            let (with, path) = (with.as_c_str(), path.as_c_str());
            mount(Some(with), path, none, MsFlags::MS_BIND, none)
                .map_err(|errno| (Step::Cover, errno))?;
        }
        chdir(directory.as_c_str()).map_err(|errno| (Step::Directory, errno))
    }
}

impl Steps {
    /// Takes the steps that need what the caller has: they come first.
    pub(crate) fn enter(&self) -> Result<(), (Step, Errno)> {
        if let Some(procs) = &self.cgroup {
            // "0" is whoever writes.
            write(procs, b"0").map_err(|errno| (Step::Cgroup, errno))?;
        }
        match &self.enter {
            Some(entering) => entering.take(),
            None => Ok(()),
        }
    }

    /// Gives up what the command shall not have: nothing but exec comes after it.
    ///
    /// In namespaces of its own the command still has every capability over them here, so it needs
    /// no `no_new_privs`, and root's set-user-id programs work inside.
    pub(crate) fn confine(&self) -> Result<(), (Step, Errno)> {
        if let Some(program) = &self.filter {
            seccomp::install(program).map_err(|error| {
                let errno = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
                (Step::Filter, Errno::from_raw(errno))
            })?;
        }
        let Some(supervision) = &self.supervision else {
            return Ok(());
        };
        // A caller with secrets is closed to looks, and so is its fork, which the supervisor has to
        // look into. What is executed next is open anyway, and has nothing of them.
        set_dumpable(true)
            .and_then(|()| supervision.begin())
            .map_err(|errno| (Step::Supervisor, errno))
    }
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Cgroup,
        Self::User,
        Self::Network,
        Self::Mounts,
        Self::Cover,
        Self::Directory,
        Self::Filter,
        Self::Supervisor,
    ];

    /// The byte by which a child tells that it was refused.
    pub(crate) const fn byte(self) -> u8 {
        self as u8
    }

    /// The step that a child has told.
    pub(super) fn told(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.byte() == byte)
    }
}
