//! The system calls that have no safe wrapper, one operation a block.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor of the process that a thread belongs to (pidfd_open(2)).
///
/// Before Linux 6.9 the thread has to be the first of its process.
pub(crate) fn pidfd_open(thread: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, thread, PIDFD_THREAD) };
    owned(fd)
}

/// The same for the first thread of a process, on every kernel that has it (5.3).
pub(crate) fn pidfd_open_process(process: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    owned(fd)
}

/// A duplicate of a descriptor of another process (pidfd_getfd(2)), close-on-exec.
pub(crate) fn pidfd_getfd(process: BorrowedFd<'_>, fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    owned(fd)
}

/// The next call that a filter puts, where one is there (poll(2) says so).
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<libc::seccomp_notif, Errno> {
    let mut room = Room {
        notice: libc::seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: libc::seccomp_data {
                nr: 0,
                arch: 0,
                instruction_pointer: 0,
                args: [0; 6],
            },
        },
        _more: [0; 32],
    };
    // SAFETY: the kernel wants a zeroed structure, fills it, and has room for what a later
    // kernel may add; it outlives the call.
    let got = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut room) };
    Errno::result(got)?;
    Ok(room.notice)
}

/// Whether a call still waits for its answer.
pub(crate) fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads a number of 8 bytes, which outlives the call.
    let valid = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ID_VALID, &raw const id) };
    valid == 0
}

/// Answers a call: with a result, with an error, or by having the kernel make it.
pub(crate) fn respond(
    listener: BorrowedFd<'_>,
    response: &libc::seccomp_notif_resp,
) -> Result<(), Errno> {
    let response: *const libc::seccomp_notif_resp = response;
    // SAFETY: the kernel reads the structure, which outlives the call.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, response) };
    Errno::result(sent).map(drop)
}

/// Has a call wake the supervisor on the processor that it is made on, where it waits anyway.
pub(crate) fn wake_here(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the call takes a number.
    let set = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP) };
    Errno::result(set).map(drop)
}

/// connect(2) with an address as a program gave it.
pub(crate) fn connect(socket: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the address outlives the call and the length is its own; the kernel copies it
    // without asking for alignment.
    let done = unsafe { libc::connect(socket.as_raw_fd(), name.as_ptr().cast(), length) };
    Errno::result(done).map(drop)
}

/// Has the runtime tell when a socket can be written to.
pub(crate) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is one and the same until it is dropped, and the runtime's
    // registration, which holds it, ends before that.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE) };
    watched.map_err(Into::into)
}

/// Asks that the orphans below this process become its children (PR_SET_CHILD_SUBREAPER).
pub(crate) fn adopt_orphans() -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    Errno::result(set).map(drop)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(fd)?).expect("the kernel numbers descriptors in an int");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
struct Room {
    notice: libc::seccomp_notif,
    _more: [u64; 32],
}

/// linux/pidfd.h: the value of O_EXCL.
const PIDFD_THREAD: libc::c_int = libc::O_EXCL;

/// linux/seccomp.h; the sizes are those of the structures of Linux 5.0, which have not grown.
const NOTIF_RECV: libc::c_ulong = ioctl(3, 0, size_of::<libc::seccomp_notif>());
const NOTIF_SEND: libc::c_ulong = ioctl(3, 1, size_of::<libc::seccomp_notif_resp>());
const NOTIF_ID_VALID: libc::c_ulong = ioctl(1, 2, size_of::<u64>());
const NOTIF_SET_FLAGS: libc::c_ulong = ioctl(1, 4, size_of::<u64>());
const FD_SYNC_WAKE_UP: libc::c_ulong = 1;

/// `_IOC` of asm-generic/ioctl.h, of the type `!`.
const fn ioctl(direction: libc::c_ulong, number: libc::c_ulong, size: usize) -> libc::c_ulong {
    direction << 30 | (size as libc::c_ulong) << 16 | (b'!' as libc::c_ulong) << 8 | number
}
