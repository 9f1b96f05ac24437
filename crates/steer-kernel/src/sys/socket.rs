//! System calls about sockets of programs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a socket's connection, made or pending, from it (connect(2) with AF_UNSPEC).
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let nobody = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: `nobody` outlives the call and the length is its own; the kernel only reads it.
    let done = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            &raw const nobody,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    Errno::result(done).map(drop)
}

/// The cookie of a socket's network namespace (SO_NETNS_COOKIE, Linux 5.14).
pub(crate) fn namespace(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` is written by at most the `length` that is its own; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(done)?;
    Ok(cookie)
}

/// Waits for a socket to be readable, in the calling runtime.
pub(crate) fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what watches it, and open for as long.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(watched?)
}

/// asm-generic/socket.h
const SO_NETNS_COOKIE: libc::c_int = 71;
