//! The keeper's own process.

use std::env;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{chdir, close, dup2_stdin, dup2_stdout, setsid};
use steer_core::driver::Lifeline;
use steer_core::keeper::{Keeper, KeeperError};

use super::fault::Fault;
use super::local::LocalKeeper;
use super::ports::Ports;
use super::watch::Watch;
use super::wire::{Reply, Request, Wire, lifelines, tags};
use crate::confine;
use crate::drivers::Drivers;
use crate::journal::RunDir;
use crate::sys;

/// Becomes the keeper, where this process was started to be one; otherwise returns at once.
///
/// A program that uses [`spawn`](super::spawn) calls this first in `main`, before any thread and
/// any argument parsing: the keeper is the program itself, executed again.
pub fn entry() {
    entry_with(Drivers::default);
}

/// As [`entry`], with drivers of the program's choice.
pub fn entry_with(drivers: impl FnOnce() -> Drivers) {
    let Some(stage) = env::var_os(STAGE) else {
        return;
    };
    if sys::process::is_secure() {
        // The variable, and every other that a keeper goes by, comes from somebody with less right.
        exit(REFUSED);
    }
    let done = match stage.to_str() {
        Some(START) => detach(SERVE, NAME),
        Some(SERVE) => serve(drivers()),
        Some(HOLD_START) => detach(HOLD, HOLDER),
        Some(HOLD) => confine::hold(),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    exit(i32::from(done.is_err()));
}

/// Starts the next stage in a session of its own and ends, so that it is nobody's child: no signal of
/// a terminal reaches it, and nobody has to wait for it.
fn detach(stage: &str, name: &CStr) -> io::Result<()> {
    setsid()?;
    again(stage, name)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// This program, to be run in a stage, with no more of the environment than it needs.
pub(super) fn again(stage: &str, name: &CStr) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name.to_str().expect("the name is ASCII"));
    command.env_clear();
    for name in KEPT {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    // The keeper leaves the directory that a relative path would start from.
    if let Some(dir) = env::var_os(RUN_DIR)
        && let Ok(dir) = std::path::absolute(dir)
    {
        command.env(RUN_DIR, dir);
    }
    command.env(STAGE, stage);
    command
}

/// Whether this process was started as a keeper and did not become one.
pub(super) fn is_misplaced() -> bool {
    env::var_os(STAGE).is_some()
}

/// The keeper's life: it answers the engine until that is gone, and then clears up.
fn serve(drivers: Drivers) -> io::Result<()> {
    let (mut wire, _life) = settle(NAME)?;
    let Some((Request::Hello { engine }, _)) = wire.receive()? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    // Held before anything is in force, so that its number cannot come to mean another process.
    let engine_fd = sys::process::pidfd_open(engine.pid)?;
    let dir = match RunDir::find() {
        Ok(dir) => dir,
        Err(error) => {
            wire.send(&Reply::Failed(Fault::of(&error)), &[])?;
            return Err(io::ErrorKind::NotFound.into());
        }
    };
    let mut keeper = LocalKeeper::of(drivers, dir, engine);
    wire.send(
        &Reply::Done {
            lifelines: Vec::new(),
            shared: Vec::new(),
        },
        &[],
    )?;
    let mut watch = None;
    loop {
        while let Some(watch) = &mut watch
            && !Watch::wait(watch, wire.as_fd())
        {
            let done = keeper.rebind();
            watch.done(wire.as_fd(), done.is_ok());
            if let Err(error) = done {
                keeper.record(&error);
            }
        }
        let Ok(Some((request, fds))) = wire.receive() else {
            break;
        };
        // Before the rules take the ids, so that no change in between is missed.
        let before = match &request {
            Request::Commit { job, .. } => {
                Some(std::mem::replace(&mut watch, Watch::over(&job.objects)))
            }
            Request::Adopt { job, .. } => {
                watch = Watch::over(&job.objects);
                None
            }
            _ => None,
        };
        match (answer(&mut wire, &mut keeper, request, fds), before) {
            (Ok(Asked::Done), _) | (Ok(Asked::Failed), None) => {}
            // What was in force is, and has been watched meanwhile.
            (Ok(Asked::Failed), Some(before)) => watch = before,
            (Err(_), _) => break,
        }
    }
    drop(wire);
    if wait_gone(&engine_fd) {
        // Nobody accepts any more, and whoever connects would only be reset later.
        keeper.refuse();
        keeper.farewell();
    }
    let done = keeper.engine_gone().and_then(|()| keeper.outlast());
    if let Err(error) = &done {
        keeper.record(error);
    }
    done.map_err(io::Error::other)
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Done,
    Failed,
}

fn answer(
    wire: &mut Wire,
    keeper: &mut LocalKeeper,
    request: Request,
    mut fds: Vec<OwnedFd>,
) -> io::Result<Asked> {
    let done = match request {
        Request::Hello { .. } => Ok(None),
        Request::Commit { job, namespaces } => {
            keeper.hold_ports(Ports::new(fds.split_off(namespaces.len().min(fds.len()))));
            for (path, fd) in namespaces.iter().zip(fds) {
                keeper.hold_namespace(path, fd);
            }
            keeper.commit(&job).map(|()| None)
        }
        Request::Adopt {
            job,
            retired,
            lifelines: tags,
        } => {
            keeper.hold_ports(Ports::new(fds.split_off(tags.len().min(fds.len()))));
            keeper
                .adopt(*job, retired, lifelines(tags, fds))
                .map(|()| None)
        }
        Request::Retire => keeper.retire().map(|()| None),
        Request::Release => keeper.release().map(Some),
    };
    let asked = match &done {
        Ok(_) => Asked::Done,
        Err(_) => Asked::Failed,
    };
    let sent = match done {
        Ok(Some(released)) => wire.send(&Reply::Released(released), &[]),
        Ok(None) => {
            let lines: Vec<Lifeline> = keeper.lifelines()?;
            let given = keeper.shared()?;
            let (lifelines, mut fds) = tags(&lines);
            fds.extend(given.iter().map(|one| one.fd.as_raw_fd()));
            let shared = given.iter().map(|one| one.label.clone()).collect();
            match wire.send(&Reply::Done { lifelines, shared }, &fds) {
                // Nothing was sent: more lifelines than the engine can be given beside us.
                Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                    let error = KeeperError::Lost {
                        what: "hand over its lifelines".to_owned(),
                        source,
                    };
                    let error = keeper.release().err().unwrap_or(error);
                    wire.send(&Reply::Failed(Fault::of(&error)), &[])
                }
                done => done,
            }
        }
        Err(error) => wire.send(&Reply::Failed(Fault::of(&error)), &[]),
    };
    sent.map(|()| asked)
}

/// Waits until the engine has closed all its sockets: while the rules stand, its connections are
/// reset as steered ones; without them the next bytes of its clients would go in clear.
///
/// `false` for one that lives on: it has dropped the job, or the keeper. What is shut down is shut
/// down for all who hold it, so its listeners are left as they are.
fn wait_gone(engine: &OwnedFd) -> bool {
    // Readable when the last thread is gone, and with it the files; a zombie's leader is not
    // enough.
    let mut fds = [PollFd::new(engine.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, LINGER_MS) {
            Err(nix::errno::Errno::EINTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Leaves everything of the engine's surroundings but the socket and the pipe.
pub(crate) fn settle(name: &CStr) -> io::Result<(Wire, OwnedFd)> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Whoever set the variable by hand has no such socket.
    socket.peer_addr()?;
    let life = io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    drop(null);
    close_all_but(&[socket.as_raw_fd(), life.as_raw_fd()])?;
    for signal in DEAF_TO {
        sys::process::dispose(signal, SigHandler::SigIgn)?;
    }
    chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    nix::sys::prctl::set_name(name)?;
    // Lowering it takes a privilege; without it the keeper is small anyway.
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    Ok((Wire::new(socket), life))
}

/// Closes what the engine inherited and passed on without knowing.
fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > 2 && !kept.contains(&fd) {
            // The listing's own descriptor is closed already.
            let _ = close(fd);
        }
    }
    Ok(())
}

/// The variable by which a process knows that it is to be a keeper.
const STAGE: &str = "STEER_KEEPER_STAGE";
/// The status of a process whose stage is not its starter's to choose.
const REFUSED: i32 = 77;
/// The first stage leaves the engine's session.
pub(super) const START: &str = "start";
/// The second is the keeper.
const SERVE: &str = "serve";
/// The process's name, for `ps`; the kernel keeps 15 bytes.
pub(super) const NAME: &CStr = c"steer-keeper";
/// The first stage of the process that holds a command's namespaces, as that of a keeper.
pub(crate) const HOLD_START: &str = "hold-start";
/// The second is that process.
const HOLD: &str = "hold";
/// Its name.
pub(crate) const HOLDER: &CStr = c"steer-holder";
/// Where programs and journals are.
const KEPT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR"];
const RUN_DIR: &str = "STEER_RUN_DIR";
/// Only the engine's end, and SIGKILL, end a keeper.
const DEAF_TO: [Signal; 11] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGPIPE,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];
/// How long an engine that has closed its socket may take to die.
const LINGER_MS: u16 = 1000;
