//! How a thread comes under a supervisor of its system calls.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::{read, write};

use super::{Program, install_supervised};

/// The supervisor's socket and the filter that puts calls to it, made before the fork.
///
/// The supervisor accepts a connection at a unix socket, reads the number of a descriptor from it
/// (four bytes, in the machine's order), takes a duplicate of that descriptor from the process
/// that called (SO_PEERCRED, pidfd_getfd(2)) and writes a byte.
#[derive(Debug)]
pub struct Supervision {
    control: UnixAddr,
    program: Program,
}

impl Supervision {
    /// By the supervisor that listens under this name in the abstract namespace.
    ///
    /// # Errors
    /// The name is too long.
    pub fn by(control: &str) -> io::Result<Self> {
        Ok(Self {
            control: UnixAddr::new_abstract(control.as_bytes())?,
            program: Program::supervised(),
        })
    }

    /// Installs the filter and waits until the supervisor has its descriptor.
    ///
    /// The supervisor is called first: once the filter is there, a connect would wait for whoever
    /// does not have the descriptor yet. Then its number is written; the supervisor takes a copy
    /// of it, and says so with a byte. Both descriptors are gone after it.
    ///
    /// For the calling thread and what it becomes and starts. Makes system calls alone: it may
    /// stand between fork and exec.
    ///
    /// # Errors
    /// EBUSY where a supervisor is there already, EPIPE where this one would not, and what the
    /// kernel says.
    pub fn begin(&self) -> Result<(), Errno> {
        let control = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        connect(control.as_raw_fd(), &self.control)?;
        let listener = install_supervised(&self.program).map_err(|error| number(&error))?;
        write(&control, &listener.as_raw_fd().to_ne_bytes())?;
        match read(&control, &mut [0])? {
            1 => Ok(()),
            _ => Err(Errno::EPIPE),
        }
    }
}

/// An error that is a number is made without memory.
fn number(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EINVAL as i32))
}
