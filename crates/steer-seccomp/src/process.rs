//! The process that made a call.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use steer_core::steered::Identity;

use crate::sys;

/// A process, by one of its threads.
///
/// What is read of it is the caller's only if its call still waits after it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    thread: u32,
}

impl Process {
    pub(crate) const fn of(thread: u32) -> Self {
        Self { thread }
    }

    /// Fills the buffer from its memory.
    ///
    /// # Errors
    /// EFAULT where it has no such memory, EPERM where it is not ours to read.
    pub(crate) fn read(self, from: u64, into: &mut [u8]) -> Result<(), Errno> {
        let remote = [remote(from, into.len())?];
        let wanted = into.len();
        let got = process_vm_readv(self.pid()?, &mut [IoSliceMut::new(into)], &remote)?;
        if got == wanted {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Writes into its memory.
    ///
    /// # Errors
    /// As for [`Process::read`].
    pub(crate) fn write(self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        let remote = [remote(to, bytes.len())?];
        let put = process_vm_writev(self.pid()?, &[IoSlice::new(bytes)], &remote)?;
        if put == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// A duplicate of one of its descriptors.
    ///
    /// # Errors
    /// EBADF where it has no such descriptor, EPERM where they are not ours to take.
    pub(crate) fn take(self, fd: RawFd) -> Result<OwnedFd, Errno> {
        let process = match sys::pidfd_open(self.thread) {
            Err(Errno::EINVAL) => sys::pidfd_open_process(self.leader()?)?,
            other => other?,
        };
        sys::pidfd_getfd(process.as_fd(), fd)
    }

    /// Who it is, as far as it can be told.
    pub(crate) fn identity(self) -> Identity {
        let status = self.status().unwrap_or_default();
        Identity {
            pid: field(&status, "Tgid:"),
            uid: field(&status, "Uid:"),
            exe: fs::read_link(format!("/proc/{}/exe", self.thread)).ok(),
            ..Identity::default()
        }
    }

    /// Whether a signal waits for this thread, which it has not blocked: it is delivered when the
    /// call is over.
    ///
    /// One that is for the whole process counts for its first thread, which the kernel prefers
    /// (`complete_signal` of kernel/signal.c), and for another one where it alone can take it.
    pub(crate) fn has_signal(self) -> bool {
        let status = self.status().unwrap_or_default();
        let taken = !bits(&status, "SigBlk:");
        if bits(&status, "SigPnd:") & taken != 0 {
            return true;
        }
        let shared = bits(&status, "ShdPnd:") & taken;
        match field(&status, "Tgid:") {
            _ if shared == 0 => false,
            Some(first) if first == self.thread => true,
            Some(first) => self.takes(first, shared),
            None => false,
        }
    }

    /// Whether one of these signals of its process waits that no other thread can take.
    ///
    /// Asked again after the others were: whoever took it has it blocked from then on.
    fn takes(self, first: u32, mut signals: u64) -> bool {
        let threads = fs::read_dir(format!("/proc/{first}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let number = thread.file_name().to_str().and_then(|n| n.parse().ok());
            let Some(other) = number.filter(|number| *number != self.thread) else {
                continue;
            };
            match Self::of(other).status() {
                Some(status) if !is_ended(&status) => signals &= bits(&status, "SigBlk:"),
                _ => {}
            }
        }
        let status = self.status().unwrap_or_default();
        signals & bits(&status, "ShdPnd:") & !bits(&status, "SigBlk:") != 0
    }

    /// Whether its threads have all ended, waited for or not.
    pub(crate) fn has_ended(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.thread));
        let Ok(mut threads) = threads.map(|threads| threads.flatten().skip(1)) else {
            return true;
        };
        is_ended(&self.status().unwrap_or_default()) && threads.next().is_none()
    }

    /// The first thread of its process.
    pub(crate) fn leader(self) -> Result<u32, Errno> {
        field(&self.status().unwrap_or_default(), "Tgid:").ok_or(Errno::ESRCH)
    }

    /// proc_pid_status(5).
    fn status(self) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/status", self.thread)).ok()
    }

    fn pid(self) -> Result<Pid, Errno> {
        let pid = i32::try_from(self.thread).map_err(|_| Errno::ESRCH)?;
        Ok(Pid::from_raw(pid))
    }
}

/// The first number of a line of proc_pid_status(5).
fn field(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a thread runs no more, or is nowhere.
fn is_ended(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_none_or(|state| state.trim_start().starts_with(['Z', 'X']))
}

/// A set of signals in proc_pid_status(5).
fn bits(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn remote(base: u64, len: usize) -> Result<RemoteIoVec, Errno> {
    let base = usize::try_from(base).map_err(|_| Errno::EFAULT)?;
    Ok(RemoteIoVec { base, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_and_written_at_its_own_addresses() {
        let own = Process::of(std::process::id());
        let said = *b"original";
        let mut heard = [0; 8];
        own.read(said.as_ptr() as u64, &mut heard).unwrap();
        assert_eq!(heard, said);
        assert_eq!(own.read(8, &mut heard), Err(Errno::EFAULT));
        assert_eq!(own.write(8, &heard), Err(Errno::EFAULT));
    }

    #[test]
    fn a_thread_that_is_not_the_first_gives_its_process_s_descriptors() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&writer);
        let thread = std::thread::spawn(move || {
            let thread = Process::of(nix::unistd::gettid().as_raw().unsigned_abs());
            (thread.take(number).map(drop), thread.take(-1).map(drop))
        });
        assert_eq!(thread.join().unwrap(), (Ok(()), Err(Errno::EBADF)));
    }

    #[test]
    fn a_process_is_told_by_its_first_thread_whoever_asks() {
        let thread = std::thread::spawn(|| {
            Process::of(nix::unistd::gettid().as_raw().unsigned_abs()).identity()
        });
        let Identity { pid, uid, exe, .. } = thread.join().unwrap();
        assert_eq!(pid, Some(std::process::id()));
        assert_eq!(uid, Some(nix::unistd::getuid().as_raw()));
        assert_eq!(exe, std::env::current_exe().ok());
    }
}
