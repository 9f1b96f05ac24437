//! System calls of the keeper and of whoever starts the command.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

use crate::child::{Files, Inherited, Step, Steps};
use crate::confine::Stage;

/// A descriptor of a process that cannot come to mean another one.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).expect("the kernel numbers descriptors in an int");
    // SAFETY: the kernel just made the descriptor for us; nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether whoever started this program has fewer rights than it: set-user-id, file capabilities.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval reads what the kernel has put beside the environment.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// A descriptor of our own for what the number means, if it means anything.
pub(crate) fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers alone; a number without meaning is an error.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    let copy = Errno::result(copy)?;
    // SAFETY: the kernel just made the descriptor for us; nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes over the descriptors that a message brought.
pub(crate) fn received(fds: Vec<RawFd>) -> Vec<OwnedFd> {
    fds.into_iter()
        // SAFETY: recvmsg installed them for this message, and the caller passes each list once.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Sets a signal's disposition to default or ignored, and tells the last one.
///
/// # Panics
/// A handler cannot be set with this.
pub(crate) fn dispose(signal: Signal, handler: SigHandler) -> io::Result<()> {
    assert!(
        matches!(handler, SigHandler::SigDfl | SigHandler::SigIgn),
        "a disposition without code"
    );
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: no code of ours runs on the signal.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Writes each of the signals that arrives into the pipe: its number, and 1 where the kernel
/// itself sent it (a terminal's key, a hang-up) or 0 where a process did.
///
/// The pipe stays open for the life of the process; a second call replaces it.
pub(crate) fn report(signals: &[Signal], pipe: OwnedFd) -> io::Result<()> {
    HEARER.store(nix::unistd::getpid().as_raw(), Ordering::SeqCst);
    let last = REPORTS.swap(pipe.into_raw_fd(), Ordering::SeqCst);
    if last >= 0 {
        // SAFETY: the number came from `into_raw_fd` of an earlier call, and the swap took it out.
        drop(unsafe { OwnedFd::from_raw_fd(last) });
    }
    for signal in signals {
        listen_again(*signal)?;
    }
    Ok(())
}

/// Has a signal reported (again), as [`report`] does.
pub(crate) fn listen_again(signal: Signal) -> io::Result<()> {
    let action = SigAction::new(
        SigHandler::SigAction(on_signal),
        SaFlags::SA_RESTART | SaFlags::SA_ONSTACK,
        SigSet::empty(),
    );
    // SAFETY: `on_signal` does only what is safe in a handler.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let errno = Errno::last_raw();
    if nix::unistd::getpid().as_raw() != HEARER.load(Ordering::SeqCst) {
        // The command, before it has put its signals back: it takes the signal as they will be.
        if let Ok(signal) = Signal::try_from(number) {
            let _ = dispose(signal, SigHandler::SigDfl);
            let _ = nix::sys::signal::raise(signal);
        }
        Errno::set_raw(errno);
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel passes a valid structure.
    let code = unsafe { (*info).si_code };
    let byte = u8::try_from(number).unwrap_or(0);
    let message = [byte, u8::from(code == libc::SI_KERNEL)];
    // SAFETY: write is safe in a handler; the buffer is on this stack, and a full or missing pipe
    // is an error without effect.
    unsafe {
        libc::write(
            REPORTS.load(Ordering::SeqCst),
            message.as_ptr().cast(),
            message.len(),
        )
    };
    Errno::set_raw(errno);
}

/// Has a child attempt something, and tells how that went; what it is left with is gone with it.
///
/// # Errors
/// There could be no child.
pub(crate) fn try_in_child(
    attempt: impl Fn() -> Result<(), (Stage, Errno)> + Send + Sync + 'static,
) -> io::Result<Result<(), (Stage, Errno)>> {
    let (mut told, tell) = io::pipe()?;
    let step = move || match attempt() {
        // SAFETY: the child ends; it has nothing that would have to be dropped or flushed.
        Ok(()) => unsafe { libc::_exit(0) },
        Err((stage, errno)) => {
            let _ = nix::unistd::write(&tell, &[stage.byte()]);
            Err(errno.into())
        }
    };
    // Never executed: the step ends the child, or is an error.
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: the caller's attempt makes system calls alone, as [`prepare`]'s steps do.
    unsafe { command.pre_exec(step) };
    let started = command.spawn();
    drop(command);
    let error = match started {
        Ok(mut child) => return child.wait().map(|_| Ok(())),
        Err(error) => error,
    };
    let mut byte = [0];
    let stage = match io::Read::read(&mut told, &mut byte) {
        Ok(1) => Stage::told(byte[0]),
        _ => None,
    };
    match (stage, error.raw_os_error()) {
        (Some(stage), Some(errno)) => Ok(Err((stage, Errno::from_raw(errno)))),
        _ => Err(error),
    }
}

/// In the place of a signal's number: from here on the command gets signals of its own.
pub(crate) const BORN: u8 = 255;
/// The process whose signals are reported.
static HEARER: AtomicI32 = AtomicI32::new(0);
/// Where [`on_signal`] writes.
static REPORTS: AtomicI32 = AtomicI32::new(-1);

/// What a child does between fork and exec: it says that it is there, takes the plan's steps, and
/// in between puts the signals back.
///
/// When a step is refused, its byte goes into `refused`, so that the caller can tell this from a
/// failing exec.
pub(crate) fn prepare(command: &mut Command, steps: Steps, refused: OwnedFd, inherited: Inherited) {
    let Inherited {
        mask,
        ignored,
        files: Files { soft, hard },
    } = inherited;
    let tell = move |done: Result<(), (Step, Errno)>| {
        done.map_err(|(step, errno)| {
            let _ = nix::unistd::write(&refused, &[step.byte()]);
            io::Error::from(errno)
        })
    };
    let step = move || {
        // SAFETY: a missing or full pipe is an error without effect; the buffer outlives the call.
        unsafe { libc::write(REPORTS.load(Ordering::SeqCst), [BORN, 0].as_ptr().cast(), 2) };
        tell(steps.enter())?;
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        for signal in Signal::iterator() {
            let handler = match ignored.contains(&signal) {
                true => SigHandler::SigIgn,
                false => SigHandler::SigDfl,
            };
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: no code of ours runs on the signal; KILL and STOP are refused without effect.
            let _ = unsafe { sigaction(signal, &action) };
        }
        nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        tell(steps.confine())
    };
    // SAFETY: the step makes system calls and allocates nothing: `Signal::iterator` walks a
    // static table, an error that is a number is no more than that, and all else was made before
    // the fork.
    unsafe { command.pre_exec(step) };
}
