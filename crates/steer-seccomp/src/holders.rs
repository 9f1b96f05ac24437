//! Who has the socket of a connect that is not over: when nobody is left, dialling on is for
//! nothing.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::process::Process;

/// The processes that have a socket, one of which is known.
#[derive(Debug)]
pub(crate) struct Holders {
    known: AtomicU32,
    /// By this number descriptors name the socket.
    inode: u64,
}

impl Holders {
    /// Those of a socket that this process has connected; none where that cannot be told.
    pub(crate) fn of(process: Option<u32>, socket: &OwnedFd) -> Option<Self> {
        let known = AtomicU32::new(process?);
        let file = fs::File::from(socket.try_clone().ok()?);
        let inode = file.metadata().ok()?.st_ino();
        Some(Self { known, inode })
    }

    /// Whether nobody has it but us.
    ///
    /// The others are looked for only when the process that is known has ended: one that closes a
    /// socket before its connect is over is not noticed until then.
    pub(crate) fn are_gone(&self) -> bool {
        if !Process::of(self.known.load(Relaxed)).has_ended() {
            return false;
        }
        match self.another() {
            Some(process) => {
                self.known.store(process, Relaxed);
                false
            }
            None => true,
        }
    }

    fn another(&self) -> Option<u32> {
        let name = PathBuf::from(format!("socket:[{}]", self.inode));
        let has = |process: u32| {
            // Those that we may not look at cannot be under this supervisor.
            let descriptors = fs::read_dir(format!("/proc/{process}/fd"));
            let mut paths = descriptors.into_iter().flatten().flatten();
            paths.any(|one| fs::read_link(one.path()).is_ok_and(|to| to == name))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|one| one.file_name().to_str()?.parse().ok())
            .find(|process| *process != std::process::id() && has(*process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    #[test]
    fn a_socket_has_holders_until_the_last_process_that_has_it_ends() {
        let socket = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut first = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(socket.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let holders = Holders::of(Some(first.id()), &socket).unwrap();
        assert!(!holders.are_gone());
        let mut other = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(socket.try_clone().unwrap()))
            .spawn()
            .unwrap();
        first.kill().unwrap();
        // Not waited for: it has ended all the same.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !Process::of(first.id()).has_ended() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(!holders.are_gone());
        other.kill().unwrap();
        other.wait().unwrap();
        // What another test starts at this moment has every descriptor until it executes.
        while !holders.are_gone() {
            assert!(std::time::Instant::now() < deadline, "somebody has it");
            std::thread::yield_now();
        }
        first.wait().unwrap();
    }
}
