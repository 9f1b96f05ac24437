//! Starting a command with a plan's settings.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::errno::Errno;
use steer_core::object::{ChildSetting, Object};
use steer_core::symbol::{CgroupRef, ControlRef, ProcessRef};

use super::steps::{Entering, Step, Steps};
use super::{Inherited, Running};
use crate::cgroup::{CgroupError, CgroupTree};
use crate::confine::Entrance;
use crate::seccomp::{Program, Supervision};
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
    /// Variables of the caller that the command does not get.
    kept: Vec<OsString>,
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
    /// The command could not enter its namespaces.
    #[error("the command could not enter its namespace of {kind}")]
    Enter {
        /// Which of them.
        kind: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file could not be put in the place of another for the command.
    #[error("the command could not be given a file of its own in the place of one of the system")]
    Cover {
        /// Why.
        source: io::Error,
    },
    /// The command could not go back to the working directory in its namespaces.
    #[error(
        "the command could not start in the working directory, which is looked for by its path in its namespaces"
    )]
    Directory {
        /// Why.
        source: io::Error,
    },
    /// The command's system calls could not be filtered.
    #[error("the command could not install the filter of its system calls")]
    Filter {
        /// Why.
        source: io::Error,
    },
    /// The command's system calls cannot come to the supervisor.
    #[error("the command could not be put under the supervisor of its system calls")]
    Supervise {
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
            Self::Enter { .. } => {
                "the process that holds the namespaces may be gone: try again; entering them takes the user who started steer"
            }
            Self::Cover { .. } => {
                "the file may be in a directory that this user cannot read: set TMPDIR to another; a sandbox around steer may forbid mount(2)"
            }
            Self::Directory { .. } => {
                "the command finds its directory by path, as a descriptor would lead out of its namespaces; this one was removed, or is closed to this user above: start from another, such as `cd /`"
            }
            Self::Filter { .. } => {
                "the kernel needs CONFIG_SECCOMP_FILTER; a sandbox around steer may forbid seccomp(2)"
            }
            Self::Supervise { .. } => {
                "a process has one such supervisor: within `steer run -m seccomp` or a sandbox of this kind choose another method, `-m netns` or `-m preload`"
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
            | Self::Enter { .. }
            | Self::Cover { .. }
            | Self::Directory { .. }
            | Self::Filter { .. }
            | Self::Supervise { .. }
            | Self::Setting { .. }
            | Self::Process { .. } => 125,
        }
    }
}

impl Spawner {
    /// A spawner that gives the signal settings on which the caller was started with.
    #[must_use]
    pub const fn new(inherited: Inherited) -> Self {
        Self {
            inherited,
            kept: Vec::new(),
        }
    }

    /// The same, with variables that the caller keeps to itself: a secret is in them.
    #[must_use]
    pub fn keeping<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.kept.extend(names.into_iter().map(OsString::from));
        self
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
        for name in &self.kept {
            command.env_remove(name);
        }
        let mut steps = Steps::default();
        let mut cgroup = None;
        for setting in settings {
            match setting {
                ChildSetting::Env { name, value } => {
                    command.env(name, value);
                }
                ChildSetting::Append { name, value } => {
                    command.env(name, appended(own(&command, name), value));
                }
                ChildSetting::Prepend { name, value } => {
                    command.env(name, prepended(own(&command, name), value));
                }
                ChildSetting::Cgroup(CgroupRef::Path(path)) => {
                    steps.cgroup = Some(procs(path)?);
                    cgroup = Some(path);
                }
                ChildSetting::Enter(ProcessRef::Pid(holder)) => {
                    steps.enter = Some(entering(*holder)?);
                }
                ChildSetting::Cover { path, with } => {
                    // Over the mounts of the host it would be for everybody.
                    let entering = steps.enter.as_mut().ok_or_else(|| unfit(setting))?;
                    entering
                        .cover(path, with)
                        .map_err(|source| SpawnError::Cover { source })?;
                }
                ChildSetting::Families { allowed } => {
                    steps.filter = Some(Program::families(allowed));
                }
                ChildSetting::Supervised {
                    control: ControlRef::Name(name),
                } => {
                    let supervision = Supervision::by(name);
                    let supervision =
                        supervision.map_err(|source| SpawnError::Supervise { source })?;
                    steps.supervision = Some(supervision);
                }
                other => return Err(unfit(other)),
            }
        }
        let (mut refusals, refused) = io::pipe().map_err(process)?;
        sys::process::prepare(&mut command, steps, refused.into(), self.inherited.clone());
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
                let told = matches!(refusals.read(&mut byte), Ok(1));
                let step = told.then(|| Step::told(byte[0])).flatten();
                Err(match step {
                    Some(step) => refusal(step, cgroup, source),
                    None => explain(name(), source),
                })
            }
        }
    }
}

fn unfit(setting: &ChildSetting) -> SpawnError {
    SpawnError::Setting {
        setting: Object::Child(setting.clone()).to_string(),
    }
}

/// What the command has by the settings before, or by the caller.
fn own(command: &Command, name: &str) -> Option<OsString> {
    let set = command.get_envs().find(|(key, _)| *key == name);
    match set {
        Some((_, value)) => value.map(OsStr::to_owned),
        None => std::env::var_os(name),
    }
}

/// The options of the caller, if any, and ours behind them, where they win.
fn appended(own: Option<OsString>, words: &str) -> OsString {
    let mut value = own.filter(|own| !own.is_empty()).unwrap_or_default();
    if !value.is_empty() {
        value.push(" ");
    }
    value.push(words);
    value
}

fn prepended(own: Option<OsString>, path: &str) -> OsString {
    let mut value = OsString::from(path);
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        value.push(":");
        value.push(own);
    }
    value
}

fn procs(path: &str) -> Result<OwnedFd, SpawnError> {
    CgroupTree::open()
        .and_then(|tree| tree.cgroup(path))
        .and_then(|cgroup| cgroup.procs())
        .map_err(|source| SpawnError::Cgroup { source })
}

fn entering(holder: u32) -> Result<Entering, SpawnError> {
    let entrance = Entrance::of(holder).map_err(|source| SpawnError::Enter {
        kind: USERS,
        source,
    })?;
    Entering::into(entrance).map_err(|source| SpawnError::Directory { source })
}

fn refusal(step: Step, cgroup: Option<&String>, source: io::Error) -> SpawnError {
    match step {
        Step::Cgroup => SpawnError::Join {
            path: cgroup.cloned().unwrap_or_default(),
            source,
        },
        Step::User => SpawnError::Enter {
            kind: USERS,
            source,
        },
        Step::Network => SpawnError::Enter {
            kind: "the network",
            source,
        },
        Step::Mounts => SpawnError::Enter {
            kind: "mounts",
            source,
        },
        Step::Cover => SpawnError::Cover { source },
        Step::Directory => SpawnError::Directory { source },
        Step::Filter => SpawnError::Filter { source },
        Step::Supervisor => SpawnError::Supervise { source },
    }
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

const USERS: &str = "users";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_those_of_the_caller() {
        let with = |own: Option<&str>| appended(own.map(OsString::from), "-Da=b");
        assert_eq!(with(Some("-Xmx1g")), "-Xmx1g -Da=b");
        assert_eq!(with(Some("")), "-Da=b");
        assert_eq!(with(None), "-Da=b");
    }

    #[test]
    fn options_follow_those_of_the_settings_before() {
        let mut command = Command::new("true");
        command.env("OPTIONS", "-Da=b");
        assert_eq!(own(&command, "OPTIONS"), Some("-Da=b".into()));
        assert_eq!(own(&command, "PATH"), std::env::var_os("PATH"));
    }
}
