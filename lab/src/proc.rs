//! A running program whose words and end can be waited for.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::sys::pidfd;
use crate::watched::{DEADLINE, Watched};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// It was killed because it overran its deadline.
    Overran,
}

/// A running program, started by [`Program::spawn`](crate::Program::spawn).
///
/// On drop its process group is killed.
#[derive(Debug)]
pub struct Proc {
    pid: Pid,
    state: Arc<Watched<State>>,
    input: Mutex<Option<OwnedFd>>,
}

#[derive(Debug, Default)]
struct State {
    stdout: Text,
    stderr: Text,
    status: Option<Status>,
    /// Whether others of its process group were alive when it ended.
    leaves_others: bool,
}

/// What was read from a stream.
#[derive(Default)]
struct Text(Vec<u8>);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Proc {
    /// Starts a command whose standard streams are piped; writes `input` and leaves it open.
    pub(crate) fn start(command: Command, input: Vec<u8>) -> Self {
        let mut child = spawn(command);
        let out = child.stdout.take().map(OwnedFd::from);
        let err = child.stderr.take().map(OwnedFd::from);
        let stdin = child.stdin.take().map(OwnedFd::from);
        let proc = Self::watch(child, out, err, stdin);
        if !input.is_empty() {
            // A program need not read its input, so the write must not block the test.
            let pipe = proc.input.lock().unwrap_or_else(PoisonError::into_inner);
            let pipe = pipe.as_ref().expect("standard input is piped").try_clone();
            let mut pipe = std::fs::File::from(pipe.expect("a descriptor can be duplicated"));
            thread::spawn(move || pipe.write_all(&input));
        }
        proc
    }

    /// Collects what the child says on these descriptors, and its end.
    pub(crate) fn watch(
        child: Child,
        out: Option<OwnedFd>,
        err: Option<OwnedFd>,
        input: Option<OwnedFd>,
    ) -> Self {
        let pid = Pid::from_raw(child.id() as i32);
        let state = Arc::new(Watched::new(State::default()));
        let observer = Observer {
            child,
            state: Arc::clone(&state),
        };
        thread::spawn(move || observer.run(out, err));
        Self {
            pid,
            state,
            input: Mutex::new(input),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// All it has written to standard output.
    pub fn stdout(&self) -> String {
        self.state
            .read(|state| String::from_utf8_lossy(&state.stdout.0).into_owned())
    }

    /// All it has written to standard error.
    pub fn stderr(&self) -> String {
        self.state
            .read(|state| String::from_utf8_lossy(&state.stderr.0).into_owned())
    }

    /// Waits for a complete line, on either stream and however long ago, that satisfies the condition.
    ///
    /// Panics with all it said after the [`DEADLINE`].
    pub fn wait_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let look = |state: &State| {
            let complete = |text: &Text| {
                let text = String::from_utf8_lossy(&text.0).into_owned();
                text.split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let lines = complete(&state.stdout)
                .into_iter()
                .chain(complete(&state.stderr));
            lines
                .map(|line| line.trim_end().to_owned())
                .find(|line| wanted(line))
        };
        self.state.expect("the line waited for", look)
    }

    /// Waits until all of standard output satisfies the condition, and gives it.
    pub fn wait_stdout(&self, wanted: impl Fn(&str) -> bool) -> String {
        let look = |state: &State| {
            Some(String::from_utf8_lossy(&state.stdout.0).into_owned()).filter(|text| wanted(text))
        };
        self.state.expect("the output waited for", look)
    }

    /// Writes to its standard input (or terminal).
    pub fn write(&self, bytes: &[u8]) {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let mut input: &OwnedFd = input.as_ref().expect("its input is open");
        while_writing(&mut input, bytes);
    }

    /// Closes its standard input.
    pub fn close_input(&self) {
        self.input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.pid));
    }

    /// Kills the process alone with SIGKILL and waits for its end.
    pub fn kill(&self) -> Status {
        // It may have ended by itself in between.
        let _ = kill(self.pid, Signal::SIGKILL);
        self.wait()
    }

    /// Waits for its end; panics with all it said after the [`DEADLINE`].
    pub fn wait(&self) -> Status {
        self.state
            .expect("the end of the program", |state| state.status)
    }

    /// Waits for its end this long at most.
    ///
    /// All that it wrote itself has been read by then, even if a descendant holds its streams open.
    pub fn wait_within(&self, within: Duration) -> Option<Status> {
        self.state.wait(within, |state| state.status)
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.state.read(|state| state.status.is_none())
    }

    /// The one-letter state of the process in `/proc`: `S` sleeping, `R` running, `T` stopped; `None` once it has ended.
    pub fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // Once the group is empty its number may become somebody else's.
        let alive = |state: &State| state.status.is_none() || state.leaves_others;
        if self.state.read(alive) {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        if self.state.wait(DEADLINE, |state| state.status).is_none() {
            eprintln!("lab: process {} does not die", self.pid);
        }
    }
}

/// The thread that reads a child's streams and waits for its end.
struct Observer {
    child: Child,
    state: Arc<Watched<State>>,
}

impl Observer {
    fn run(mut self, mut out: Option<OwnedFd>, mut err: Option<OwnedFd>) {
        let pid = Pid::from_raw(self.child.id() as i32);
        let mut end = Some(pidfd(self.child.id()).expect("a child not waited for has a pidfd"));
        while out.is_some() || err.is_some() || end.is_some() {
            let watched: Vec<_> = [&out, &err, &end].into_iter().flatten().collect();
            let mut ready: Vec<_> = watched
                .iter()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
                .collect();
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
            let ended = end.as_ref().is_some_and(is_readable);
            // Read after the end was noticed: so everything the child wrote is published with it.
            let stdout = drain(&mut out);
            let stderr = drain(&mut err);
            let status = ended.then(|| {
                end = None;
                self.child.wait().expect("a child can be waited for once")
            });
            self.state.update(|state| {
                state.stdout.0.extend(stdout);
                state.stderr.0.extend(stderr);
                if let Some(status) = status {
                    state.status = Some(status.into());
                    state.leaves_others = killpg(pid, None).is_ok();
                }
            });
        }
    }
}

/// Reads all that is there without waiting; forgets the descriptor at its end.
fn drain(slot: &mut Option<OwnedFd>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Some(fd) = slot.as_ref().filter(|fd| is_readable(fd)) {
        match nix::unistd::read(fd, &mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            // A terminal whose last user has gone answers EIO: its form of end of file.
            Ok(_) | Err(_) => *slot = None,
        }
    }
    bytes
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut one = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut one, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn while_writing(input: &mut &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = nix::unistd::write(*input, bytes).expect("the program reads its input");
        bytes = &bytes[written..];
    }
}

/// Starts the command from a thread that never ends: the kernel kills a child when the thread
/// that forked it ends, and tests start programs from threads that do.
pub(crate) fn spawn(mut command: Command) -> Child {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
        let (job_tx, job_rx) = channel::<Job>();
        thread::spawn(move || job_rx.into_iter().for_each(|job| job()));
        Mutex::new(job_tx)
    });
    let (child_tx, child_rx) = channel();
    let job = move || {
        let child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"));
        child_tx.send(child).expect("the caller waits");
    };
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Box::new(job))
        .expect("the spawner never ends");
    child_rx
        .recv()
        .expect("the spawner answers")
        .unwrap_or_else(|error| panic!("could not start {error}"))
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => unreachable!("a waited-for child has exited or was killed"),
        }
    }
}
