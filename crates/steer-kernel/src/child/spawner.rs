//! Starting a command with a plan's settings.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::errno::Errno;
use steer_core::object::{ChildSetting, Object};
use steer_core::symbol::CgroupRef;

use super::{Inherited, Running};
use crate::cgroup::{CgroupError, CgroupTree};
use crate::sys;

/// Starts commands: streams, terminal, signals and working directory are the caller's.
///
/// ```
/// use steer_kernel::child::{Exit, Inherited, Spawner};
///
/// let spawner = Spawner::new(Inherited::capture()?);
/// let running = spawner.spawn("sh".as_ref(), &["-c".into(), "exit 7".into()], &[])?;
/// assert_eq!(running.wait()?, Exit::Status(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Spawner {
    inherited: Inherited,
}

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
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
    /// The cgroup cannot be opened.
    #[error("the command's cgroup cannot be joined")]
    Cgroup {
        /// Why.
        source: CgroupError,
    },
    /// The command could not join the cgroup.
    #[error("the command could not join cgroup {path}")]
    Join {
        /// The cgroup's path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A setting that cannot be made, or a symbol without a value in one.
    #[error("the command cannot be started with this setting: {setting}")]
    Setting {
        /// The setting as plans show it.
        setting: String,
    },
    /// No process could be made.
    #[error("{program}: no process could be started")]
    Process {
        /// Its name as given.
        program: String,
        /// Why.
        source: io::Error,
    },
}

impl SpawnError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "check the name and PATH; options of steer go before `--`",
            Self::NotExecutable { .. } => "check its permissions, and that it is a program",
            Self::Cgroup { source } => source.help(),
            Self::Join { .. } => {
                "check that cgroup.type of the cgroup is `domain`, and pids.max of those above it"
            }
            Self::Setting { .. } => "this is a mistake in the method; please report the plan",
            Self::Process { .. } => "check `ulimit -u`, `ulimit -n` and the free memory",
        }
    }

    /// The exit status of a program that could not start its command, as `env` and shells have it.
    #[must_use]
    pub const fn status(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Cgroup { .. }
            | Self::Join { .. }
            | Self::Setting { .. }
            | Self::Process { .. } => 125,
        }
    }
}

impl Spawner {
    /// A spawner that gives the signal settings on which the caller was started with.
    #[must_use]
    pub const fn new(inherited: Inherited) -> Self {
        Self { inherited }
    }

    /// Starts a command.
    ///
    /// From here on the caller's signals are the command's: see [`Running`].
    pub fn spawn(
        &self,
        program: &OsStr,
        args: &[OsString],
        settings: &[ChildSetting],
    ) -> Result<Running, SpawnError> {
        let name = || program.to_string_lossy().into_owned();
        let process = |source| SpawnError::Process {
            program: name(),
            source,
        };
        let mut command = Command::new(program);
        command.args(args);
        let mut cgroup = None;
        for setting in settings {
            match setting {
                ChildSetting::Env { name, value } => {
                    command.env(name, value);
                }
                ChildSetting::Cgroup(CgroupRef::Path(path)) => {
                    cgroup = Some((path.clone(), procs(path)?));
                }
                other => {
                    let setting = Object::Child(other.clone()).to_string();
                    return Err(SpawnError::Setting { setting });
                }
            }
        }
        let (path, procs) = cgroup.unzip();
        let (mut refusals, refused) = io::pipe().map_err(process)?;
        sys::process::prepare(&mut command, procs, refused.into(), self.inherited.clone());
        // Set before the command exists, so that no signal finds us deaf or takes us alone.
        let running = Running::listen(&self.inherited).map_err(process)?;
        let started = command.spawn();
        // Closes our end of the pipe of refusals.
        drop(command);
        match started {
            Ok(child) => Ok(running.of(child)),
            Err(source) => {
                running.give_up();
                let mut byte = [0];
                let joined = !matches!(refusals.read(&mut byte), Ok(1));
                Err(match (joined, path) {
                    (false, Some(path)) => SpawnError::Join { path, source },
                    _ => explain(name(), source),
                })
            }
        }
    }
}

fn procs(path: &str) -> Result<OwnedFd, SpawnError> {
    CgroupTree::open()
        .and_then(|tree| tree.cgroup(path))
        .and_then(|cgroup| cgroup.procs())
        .map_err(|source| SpawnError::Cgroup { source })
}

fn explain(program: String, source: io::Error) -> SpawnError {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) => SpawnError::NotFound { program, source },
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => {
            SpawnError::Process { program, source }
        }
        _ => SpawnError::NotExecutable { program, source },
    }
}
