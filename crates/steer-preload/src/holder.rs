//! Which processes hold a socket: a connect whose call has ended is theirs who have its socket.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The number by which processes' descriptors name a socket.
pub(crate) fn inode(socket: BorrowedFd<'_>) -> Option<u64> {
    rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino)
}

/// Ends when no other process has the socket, of which this one was the first that is known.
///
/// Asked only when a process ends that had it: the kernel tells nobody when the last but one closes
/// a socket. Where it cannot be asked, nobody is taken for gone.
pub(crate) async fn gone(socket: u64, first: Option<u32>) {
    let Some(mut process) = first else {
        return std::future::pending().await;
    };
    loop {
        if ended(process).await.is_err() {
            return std::future::pending().await;
        }
        let looked = tokio::task::spawn_blocking(move || holder(socket)).await;
        match looked.map_err(io::Error::from).flatten() {
            Ok(Some(next)) => process = next,
            Ok(None) => return,
            Err(_) => return std::future::pending().await,
        }
    }
}

/// Waits for the end of a process.
#[allow(
    deprecated,
    reason = "its caller must keep the descriptor open, which what it owns does"
)]
async fn ended(process: u32) -> io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let process: OwnedFd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let process = AsyncFd::with_interest(process, Interest::READABLE)?;
    process.readable().await.map(drop)
}

/// A process other than this one that has the socket.
fn holder(socket: u64) -> io::Result<Option<u32>> {
    let named = PathBuf::from(format!("socket:[{socket}]"));
    for process in fs::read_dir("/proc")?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        // Those of other users cannot be asked, nor have what our user's program has.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has = |path: PathBuf| fs::read_link(path).is_ok_and(|target| target == named);
        if descriptors.flatten().any(|one| has(one.path())) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[tokio::test]
    async fn a_socket_is_held_until_the_last_process_that_has_it_ends() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = inode(socket.as_fd()).unwrap();
        // What another test starts at this moment has every descriptor until it executes.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while let Some(one) = holder(number).unwrap() {
            assert!(std::time::Instant::now() < deadline, "{one} has it");
            std::thread::yield_now();
        }
        let input = OwnedFd::from(socket.try_clone().unwrap());
        // The shell goes, and what it started has the socket as its standard input.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; sleep 60 <&3 >/dev/null & echo $!"])
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let first = shell.id();
        let mut said = String::new();
        let mut out = shell.stdout.take().unwrap();
        io::Read::read_to_string(&mut out, &mut said).unwrap();
        let rest: i32 = said.trim().parse().unwrap();
        shell.wait().unwrap();
        let mut gone = Box::pin(gone(number, Some(first)));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut gone).await;
        assert!(waited.is_err(), "the process {rest} has it");
        let rest = nix::unistd::Pid::from_raw(rest);
        nix::sys::signal::kill(rest, nix::sys::signal::Signal::SIGKILL).unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(30), gone).await;
        waited.expect("nobody has it");
    }
}
