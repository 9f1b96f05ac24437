//! How the supervisor gets the descriptor of a command.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::process::Process;

/// Takes the notification descriptor of a command whose first process, which is told as well,
/// called: it has installed its
/// filter, writes the descriptor's number, and waits for a byte before it executes the program.
///
/// # Errors
/// It is another user's, or lets nobody take its descriptors, or says nothing in time.
pub(crate) async fn admit(stream: &mut UnixStream) -> io::Result<(OwnedFd, u32)> {
    let peer = stream.peer_cred()?;
    let own = nix::unistd::geteuid().as_raw();
    if peer.uid() != own && peer.uid() != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let process = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let process = process.ok_or(Errno::ESRCH)?;
    let mut number = [0; 4];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut number)).await??;
    let descriptor = Process::of(process).take(i32::from_ne_bytes(number))?;
    Ok((descriptor, process))
}

/// Lets the command go on.
pub(crate) async fn go(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(&[1]).await
}

/// Installing a filter takes microseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is taken is a descriptor of calls, and nothing else that a process may offer.
pub(crate) fn is_line(descriptor: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    std::fs::read_link(path).is_ok_and(|link| link.as_os_str() == "anon_inode:seccomp notify")
}
