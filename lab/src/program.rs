//! A program to be run by the lab, and the result of having run it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nix::unistd::{Gid, Uid, getegid, geteuid};

use crate::cgroup::Cgroup;
use crate::hierarchy::{Hierarchy, mount_point};
use crate::namespace::Namespace;
use crate::proc::{Proc, Status};
use crate::pty::Pty;
use crate::rootless;
use crate::sys::{Step, before_exec};
use crate::watched::DEADLINE;

/// A program with its arguments and surroundings, not yet started.
///
/// Whatever it starts as dies with the test: it leads a process group that is killed on drop,
/// and the kernel kills it when the test process dies.
#[derive(Debug)]
#[must_use]
pub struct Program {
    command: Command,
    network: Option<Arc<OwnedFd>>,
    cgroup: Option<Arc<OwnedFd>>,
    user: Option<u32>,
    group: Option<u32>,
    apart: Option<Step>,
    hierarchy: Option<Step>,
    input: Vec<u8>,
    deadline: Duration,
}

/// What a finished program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// Its standard output, with bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Program {
    /// A program in the namespace of the test process.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let command = Command::new(program);
        Self {
            command,
            network: None,
            cgroup: None,
            user: None,
            group: None,
            apart: None,
            hierarchy: None,
            input: Vec::new(),
            deadline: DEADLINE,
        }
    }

    pub(crate) fn inside(namespace: &Namespace, program: &OsStr) -> Self {
        Self {
            network: Some(namespace.handle()),
            ..Self::new(program)
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets its working directory.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs it as this user, without other groups or capabilities, and as the group of the same
    /// number unless [`Self::group`] says another.
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Runs it as this group; without [`Self::user`] as root.
    pub fn group(mut self, id: u32) -> Self {
        self.group = Some(id);
        self
    }

    /// Runs it in this cgroup.
    pub fn cgroup(mut self, cgroup: &Cgroup) -> Self {
        self.cgroup = Some(cgroup.procs());
        self
    }

    /// Lets it take the hierarchy of this process's own for the machine's: see [`Hierarchy`].
    ///
    /// With [`Self::cgroup`] it takes that cgroup for the root.
    pub fn in_hierarchy(mut self) -> Self {
        Hierarchy::own();
        self.hierarchy = Some(Step::OwnHierarchy(mount_point()));
        self
    }

    /// Runs it as a user without privileges: nobody, where there are several users, or else the
    /// user of this process outside, who shows as nobody and has no power over any namespace.
    pub fn without_privileges(mut self) -> Self {
        if rootless::has_users() {
            return self.user(NOBODY);
        }
        self.apart = Some(Step::OwnUser(format!("{NOBODY} 0 1")));
        self
    }

    /// Makes it root over a user, a network and a mount namespace of its own.
    pub(crate) fn in_own_namespaces(mut self) -> Self {
        let (uid, gid) = (geteuid(), getegid());
        let (users, groups) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
        self.apart = Some(Step::OwnNamespaces(users, groups));
        self
    }

    /// Gives it these bytes as standard input, which is empty otherwise.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// How long [`Self::run`] lets it run: the [`DEADLINE`] if not said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end; one that overruns the deadline is killed and has [`Status::Overran`].
    pub fn run(self) -> Output {
        let deadline = self.deadline;
        let proc = self.spawn();
        proc.close_input();
        let status = proc.wait_within(deadline).unwrap_or_else(|| {
            proc.kill();
            Status::Overran
        });
        Output {
            status,
            stdout: proc.stdout(),
            stderr: proc.stderr(),
        }
    }

    /// Starts it with pipes for its standard streams; its input stays open.
    pub fn spawn(self) -> Proc {
        let input = self.input.clone();
        let mut command = self.into_command();
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Proc::start(command, input)
    }

    /// Starts it as leader of its own session on a new pseudo-terminal.
    pub fn spawn_on_terminal(self) -> Pty {
        Pty::start(self)
    }

    /// The plain command with all of this except input and deadline.
    pub fn into_command(self) -> Command {
        self.into_command_with(None)
    }

    /// Its name and arguments.
    pub(crate) fn into_words(self) -> Vec<String> {
        let command = &self.command;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let text = |word: &OsStr| word.to_str().expect("words of text").to_owned();
        words.map(text).collect()
    }

    pub(crate) fn into_command_with(self, first: Option<Step>) -> Command {
        let Self {
            mut command,
            network,
            cgroup,
            user,
            group,
            apart,
            hierarchy,
            input: _,
            deadline: _,
        } = self;
        let mut steps = Vec::from_iter(first);
        steps.extend(network.map(Step::JoinNetwork));
        steps.extend(cgroup.map(Step::JoinCgroup));
        steps.extend(hierarchy);
        let (soft, hard) = *FILE_LIMIT;
        steps.push(Step::FileLimit(soft, hard));
        steps.extend(apart);
        if user.is_some() || group.is_some() {
            let (uid, gid) = (user.unwrap_or(0), group.or(user).unwrap_or(0));
            steps.push(Step::Become(Uid::from_raw(uid), Gid::from_raw(gid)));
        }
        steps.push(Step::HearSignals);
        steps.push(Step::DieWithParent);
        before_exec(&mut command, steps);
        command
    }
}

impl From<Command> for Program {
    /// Takes over a plain command; its settings for standard streams are replaced.
    fn from(command: Command) -> Self {
        Self {
            command,
            ..Self::new("")
        }
    }
}

impl Output {
    /// The standard output of a program that ended with status 0; panics with all it said otherwise.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert_eq!(self.status, Status::Exited(0), "{self:#?}");
        self.stdout
    }
}

/// The limit of open files that the test process was started with.
pub(crate) static FILE_LIMIT: LazyLock<(u64, u64)> = LazyLock::new(crate::network::file_limit);

/// The user without privileges.
const NOBODY: u32 = 65_534;
