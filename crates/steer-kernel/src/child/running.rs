//! A command that runs, and the signals between it and the terminal.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, pthread_sigmask, raise};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getsid};

use super::{Exit, Inherited};
use crate::journal::process;
use crate::sys;

/// A command that runs.
///
/// While it does, this process gives the signals that only it received on to the command, and
/// itself ends by none of them: it goes when the command has gone. Handlers that a program sets
/// for these signals meanwhile (SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM,
/// SIGWINCH, SIGTSTP, SIGCONT) take their place.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    signals: Signals,
    /// Keeps what the standard library holds for it; it is waited for by number.
    _child: Child,
}

/// Signals that arrive, before there is a command to give them to.
#[derive(Debug)]
pub(super) struct Signals {
    pipe: PipeReader,
    /// Ends the pipe's reader.
    end: OwnedFd,
    reported: Vec<Signal>,
    deaf_to: Vec<Signal>,
}

impl Running {
    /// Starts to collect signals for a command that is about to exist.
    pub(super) fn listen(inherited: &Inherited) -> io::Result<Signals> {
        let heard = |signal: &Signal| !inherited.ignores(*signal);
        let reported: Vec<_> = REPORTED.into_iter().filter(heard).collect();
        let deaf_to: Vec<_> = DEAF_TO.into_iter().filter(heard).collect();
        let (pipe, end) = io::pipe()?;
        // A handler must never wait.
        fcntl(&end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let end = OwnedFd::from(end);
        sys::process::report(&reported, end.as_fd().try_clone_to_owned()?)?;
        for signal in &deaf_to {
            sys::process::dispose(*signal, SigHandler::SigIgn)?;
        }
        Ok(Signals {
            pipe,
            end,
            reported,
            deaf_to,
        })
    }

    /// The command's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Sends the command a signal; gone already is fine.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the command has ended. Blocks; from async code call it on a blocking thread.
    ///
    /// Meanwhile a signal that a process sent to this one is sent on to the command; one that a
    /// terminal sent is not, since the command got it as well. A stop of the command stops this
    /// process in the same way, and going on continues the command.
    pub fn wait(self) -> io::Result<Exit> {
        let Self {
            pid,
            signals,
            _child,
        } = self;
        // Locked while a signal is sent, so that the number still means the command.
        let gone = Mutex::new(false);
        let Signals {
            pipe,
            end,
            reported,
            deaf_to,
        } = signals;
        let exit = thread::scope(|scope| {
            scope.spawn(|| forward(pipe, pid, &gone));
            let exit = follow(pid, &gone);
            // A report of signal 0 is nobody's; it ends the reader, who empties a full pipe.
            while nix::unistd::write(&end, &[0, 0]) == Err(Errno::EAGAIN) {
                thread::yield_now();
            }
            exit
        });
        restore(&reported, &deaf_to)?;
        exit
    }
}

impl Signals {
    /// The signals are this command's.
    pub(super) fn of(self, child: Child) -> Running {
        let pid = i32::try_from(child.id()).expect("a process id is a positive int");
        Running {
            pid: Pid::from_raw(pid),
            signals: self,
            _child: child,
        }
    }

    /// There is no command: the signals are as by default again.
    pub(super) fn give_up(&self) {
        // A disposition that could be set can be set back.
        let _ = restore(&self.reported, &self.deaf_to);
    }
}

fn restore(reported: &[Signal], deaf_to: &[Signal]) -> io::Result<()> {
    for signal in reported.iter().chain(deaf_to) {
        // What came while there was a command and has not been looked at, because the thread that is
        // to has not run since, was meant for the command: to ignore it discards it (sigaction(2), POSIX.1).
        sys::process::dispose(*signal, SigHandler::SigIgn)?;
        sys::process::dispose(*signal, SigHandler::SigDfl)?;
    }
    Ok(())
}

/// Waits for the end, stopping when the command stops.
fn follow(pid: Pid, gone: &Mutex<bool>) -> io::Result<Exit> {
    let changes = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED;
    loop {
        // The end is only looked at: reaping frees the number, under the lock.
        let status = match waitid(Id::Pid(pid), changes | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        match status {
            WaitStatus::Stopped(_, signal) => {
                // Takes the report, so that it does not come again.
                let taken = waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG)?;
                if matches!(taken, WaitStatus::Stopped(..)) {
                    stop(signal)?;
                }
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
                *gone = true;
                return Ok(match waitid(Id::Pid(pid), WaitPidFlag::WEXITED)? {
                    WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal),
                    WaitStatus::Exited(_, status) => Exit::Status(status),
                    _ => unreachable!("only ends were asked for"),
                });
            }
            _ => {}
        }
    }
}

/// Stops this process as the command was stopped; returns when it goes on.
fn stop(signal: Signal) -> io::Result<()> {
    // Where nobody could continue it (an orphaned process group), the kernel drops the three
    // signals of a terminal, as it does for the command.
    let again = match signal {
        Signal::SIGSTOP => None,
        Signal::SIGTSTP => Some(signal),
        Signal::SIGTTIN | Signal::SIGTTOU => Some(signal),
        _ => return Ok(()),
    };
    if again.is_some() {
        sys::process::dispose(signal, SigHandler::SigDfl)?;
        let mut only = SigSet::empty();
        only.add(signal);
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None)?;
    }
    raise(signal)?;
    match again {
        Some(Signal::SIGTSTP) => sys::process::listen_again(signal),
        Some(signal) => sys::process::dispose(signal, SigHandler::SigIgn),
        None => Ok(()),
    }
}

/// Gives signals on until a report of signal 0.
fn forward(mut pipe: PipeReader, pid: Pid, gone: &Mutex<bool>) {
    let mut report = [0; 2];
    let mut born = false;
    while pipe.read_exact(&mut report).is_ok() {
        let [number, from_kernel] = report;
        if number == sys::process::BORN {
            born = true;
            continue;
        }
        let Ok(signal) = Signal::try_from(i32::from(number)) else {
            return;
        };
        let gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever came before the command was there came to this process alone.
        if !*gone && (!born || concerns(signal, from_kernel == 1, pid)) {
            // The command may have changed its user and be out of reach: then it is as under
            // `env`, where the signal would not have reached it either.
            let _ = kill(pid, signal);
        }
    }
}

/// Whether the command did not get the signal by itself.
fn concerns(signal: Signal, from_kernel: bool, pid: Pid) -> bool {
    match signal {
        Signal::SIGCONT => process::is_stopped(pid.as_raw().unsigned_abs()),
        // A hang-up is told to the session's leader alone.
        Signal::SIGHUP if from_kernel => getsid(None) == Ok(getpid()),
        _ => !from_kernel,
    }
}

/// Given on to the command.
const REPORTED: [Signal; 10] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];
/// The terminal's word to the whole group about input and output in the background: the command
/// stops, and this process with it.
const DEAF_TO: [Signal; 2] = [Signal::SIGTTIN, Signal::SIGTTOU];
