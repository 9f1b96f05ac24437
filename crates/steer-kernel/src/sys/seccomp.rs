//! Installing filters of system calls. Safe between fork and exec: nothing is allocated.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, sock_filter, sock_fprog};

/// Gives up privileges that an exec would bring, for this thread and all that comes from it.
pub(crate) fn no_new_privileges() -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(done).map(drop)
}

/// Installs a filter for this thread.
pub(crate) fn install(program: &[sock_filter]) -> Result<(), Errno> {
    set_filter(program, 0).map(drop)
}

/// Installs a filter for this thread, with a descriptor for its supervisor.
pub(crate) fn install_listener(program: &[sock_filter]) -> Result<OwnedFd, Errno> {
    let wanted = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let killable = wanted | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let fd = match set_filter(program, killable) {
        Err(Errno::EINVAL) => set_filter(program, wanted),
        other => other,
    }?;
    let fd = RawFd::try_from(fd).expect("the kernel numbers descriptors in 31 bits");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A duplicate of a descriptor of a process (pidfd_getfd(2)).
pub(crate) fn duplicate(process: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_pidfd_getfd,
            process.as_raw_fd(),
            fd.as_raw_fd(),
            0,
        )
    };
    let fd = RawFd::try_from(Errno::result(fd)?).expect("the kernel numbers descriptors in an int");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_filter(program: &[sock_filter], flags: libc::c_ulong) -> Result<libc::c_long, Errno> {
    let program = sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` and what it points to outlive the call; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    Errno::result(result)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Asks for an io_uring without a place for its parameters.
    pub(crate) fn ring() -> Result<(), Errno> {
        // SAFETY: a null pointer is refused with EFAULT where the call is made at all.
        let made = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) };
        Errno::result(made).map(drop)
    }
}
