//! A socket call with its arguments, however it was made.

use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use socket2::{Domain, SockRef, Type};
use steer_kernel::seccomp::{Abi, Call};

use crate::memory;
use crate::notice::Notice;
use crate::process::Process;

/// A call with its arguments.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) notice: Notice,
    pub(crate) process: Process,
    pub(crate) call: Call,
    pub(crate) args: [u64; 6],
}

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    /// Of the internet, and neither.
    Inet,
    /// Not of the internet, or no socket.
    Other,
}

impl Asked {
    /// Reads the arguments where they are in memory.
    ///
    /// # Errors
    /// They cannot be read; the call has been answered.
    pub(crate) fn of(notice: Notice) -> Option<Self> {
        let process = Process::of(notice.thread);
        if notice.thread == 0 {
            // In namespaces of pids that are not below ours: nothing of it can be seen.
            let _ = notice.fail(Errno::EPERM);
            return None;
        }
        let (call, args) = (notice.call, notice.args);
        if call != Call::Socketcall {
            return Some(Self {
                notice,
                process,
                call,
                args,
            });
        }
        let number = u32::try_from(args[0] & u64::from(u32::MAX)).ok()?;
        let call = Call::of_socketcall(number)?;
        match memory::words(process, args[1], arguments(call)) {
            Ok(args) => Some(Self {
                notice,
                process,
                call,
                args,
            }),
            Err(errno) => {
                let _ = notice.fail(errno);
                None
            }
        }
    }

    pub(crate) const fn abi(&self) -> Abi {
        self.notice.abi
    }

    /// Writes into the caller's memory.
    ///
    /// # Errors
    /// EFAULT where it has no such memory, ESRCH where the call is over: the process may be another
    /// by then.
    pub(crate) fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        if !self.notice.is_waiting() {
            return Err(Errno::ESRCH);
        }
        self.process.write(to, bytes)
    }

    /// An argument that is an `int`.
    pub(crate) const fn int(&self, arg: usize) -> i32 {
        self.args[arg] as i32
    }

    /// A duplicate of the socket that the call is about, and whether the call still waits: what
    /// was read of its process is that process's then.
    ///
    /// # Errors
    /// The kernel's word; EPERM where the process lets nobody take its descriptors.
    pub(crate) fn socket(&self) -> Result<OwnedFd, Errno> {
        let fd: RawFd = self.int(0);
        let socket = self.process.take(fd)?;
        if self.notice.is_waiting() {
            Ok(socket)
        } else {
            Err(Errno::ESRCH)
        }
    }
}

impl Kind {
    pub(crate) fn of(socket: &OwnedFd) -> Self {
        let socket = SockRef::from(socket);
        match socket.domain() {
            Ok(Domain::IPV4 | Domain::IPV6) => {}
            _ => return Self::Other,
        }
        let protocol = socket.protocol().ok().flatten().map(i32::from);
        match (socket.r#type(), protocol) {
            (Ok(Type::STREAM), Some(TCP | MPTCP)) => Self::Tcp,
            (Ok(Type::DGRAM), Some(UDP)) => Self::Udp,
            _ => Self::Inet,
        }
    }
}

/// How many arguments a call has.
const fn arguments(call: Call) -> usize {
    match call {
        Call::Sendto => 6,
        Call::Getsockopt => 5,
        Call::Sendmmsg => 4,
        Call::Socket
        | Call::Socketpair
        | Call::Connect
        | Call::Sendmsg
        | Call::Getpeername
        | Call::Socketcall
        | Call::IoUringSetup
        | Call::IoUringEnter
        | Call::IoUringRegister => 3,
    }
}

/// IPPROTO_*, netinet/in.h.
const TCP: i32 = 6;
const UDP: i32 = 17;
const MPTCP: i32 = 262;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_socket_is_known_by_its_protocol() {
        let of = |socket: OwnedFd| Kind::of(&socket);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(of(tcp.into()), Kind::Tcp);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(of(udp.into()), Kind::Udp);
        assert_eq!(of(UnixDatagram::unbound().unwrap().into()), Kind::Other);
        let (pipe, _) = std::io::pipe().unwrap();
        assert_eq!(of(pipe.into()), Kind::Other);
        let sctp = socket2::Protocol::from(132);
        if let Ok(sctp) = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(sctp)) {
            assert_eq!(of(sctp.into()), Kind::Inet);
        }
    }
}
