//! Filters of system calls (seccomp(2)) for the command: which socket families it may use, and
//! which calls come to a supervisor.
//!
//! ```text
//! families / supervised ─> rules ─> assembler ─> Program ─ install (between fork and exec)
//!                            │                                │
//!                            └─ abi: numbers of the calls      └─ the supervisor's descriptor
//! ```
//!
//! A filter looks at the calling convention before anything else: the same number means another
//! call in another one. It sees registers alone, never memory.

mod abi;
mod assembler;
mod supervision;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, sock_filter};

use crate::sys;
pub use abi::{Abi, Call};
use assembler::{Rule, When, assemble};
pub use supervision::Supervision;

/// A filter of system calls, ready to be installed.
///
/// ```
/// use steer_kernel::seccomp::Program;
/// // AF_UNIX, AF_INET and AF_INET6.
/// let program = Program::families(&[1, 2, 10]);
/// assert!(program.len() > 10);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<sock_filter>,
}

impl Program {
    /// Sockets of these families (AF_* numbers) alone, and no io_uring.
    ///
    /// Others get EAFNOSUPPORT, io_uring EPERM. Where a 32-bit program makes sockets by
    /// socketcall(2), the family is in memory, which a filter cannot see: this is refused with
    /// EAFNOSUPPORT too, whatever the family. The x32 convention is answered with ENOSYS, as by
    /// kernels without it.
    #[must_use]
    pub fn families(allowed: &[u16]) -> Self {
        let others = || When::Unless(0, allowed.iter().copied().map(u32::from).collect());
        let refused = errno(Errno::EAFNOSUPPORT);
        let mut rules = vec![
            Rule::new(Call::Socket, others(), refused),
            Rule::new(Call::Socketpair, others(), refused),
            Rule::new(
                Call::Socketcall,
                When::Among(0, vec![SYS_SOCKET, SYS_SOCKETPAIR]),
                refused,
            ),
        ];
        rules.extend(no_ring());
        Self::of(&rules)
    }

    /// Calls that bring a socket to a peer, or ask how that went, are put to a supervisor
    /// ([`install_supervised`]); io_uring, by which they could be made unseen, gets EPERM.
    ///
    /// These are connect(2), sendto(2) with an address or MSG_FASTOPEN, sendmsg(2) and
    /// sendmmsg(2) (whose address is in memory), getpeername(2), and getsockopt(2) of SO_ERROR and
    /// SO_PEERNAME.
    #[must_use]
    pub fn supervised() -> Self {
        let told = libc::SECCOMP_RET_USER_NOTIF;
        let sol_socket = libc::SOL_SOCKET.unsigned_abs();
        let mut rules = vec![
            Rule::new(Call::Connect, When::Always, told),
            Rule::new(
                Call::Sendto,
                When::SetOrBits {
                    set: 4,
                    bits: (3, MSG_FASTOPEN),
                },
                told,
            ),
            Rule::new(Call::Sendmsg, When::Always, told),
            Rule::new(Call::Sendmmsg, When::Always, told),
            Rule::new(Call::Getpeername, When::Always, told),
            Rule::new(
                Call::Getsockopt,
                When::Both((1, sol_socket), (2, ASKED_OPTIONS.to_vec())),
                told,
            ),
            Rule::new(
                Call::Socketcall,
                When::Among(0, abi::SOCKETCALLS.iter().map(|(n, _)| *n).collect()),
                told,
            ),
        ];
        rules.extend(no_ring());
        Self::of(&rules)
    }

    /// Every call is allowed.
    fn nothing() -> Self {
        Self::of(&[])
    }

    fn of(rules: &[Rule]) -> Self {
        Self {
            instructions: assemble(rules),
        }
    }

    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether it has no instruction, which no program of this module is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}

/// Installs a filter in the calling thread, and so in what it becomes and starts.
///
/// Makes system calls alone: it may stand between fork and exec. A thread without CAP_SYS_ADMIN in
/// its user namespace gets `no_new_privs` as well, without which the kernel takes no filter
/// (set-user-id programs then run without the user id that is theirs).
///
/// # Errors
/// What the kernel says; EINVAL where it has no filters.
pub fn install(program: &Program) -> io::Result<()> {
    match sys::seccomp::install(&program.instructions) {
        Err(Errno::EACCES) => {
            sys::seccomp::no_new_privileges()?;
            sys::seccomp::install(&program.instructions)
        }
        other => other,
    }
    .map_err(Into::into)
}

/// Installs a filter in the calling thread, and gives the descriptor by which a supervisor gets
/// the calls that it puts (seccomp_unotify(2)); it is close-on-exec.
///
/// As [`install`], and sets `no_new_privs` in any case. Where the kernel can (5.19), a signal does
/// not end a call that the supervisor has taken, so that no answer is lost: a supervisor that
/// keeps a call waiting looks for signals itself, and answers ERESTARTSYS.
///
/// # Errors
/// What the kernel says: EBUSY where an earlier filter has a supervisor already, EINVAL where it
/// has no such filters.
pub fn install_supervised(program: &Program) -> io::Result<OwnedFd> {
    sys::seccomp::no_new_privileges()?;
    Ok(sys::seccomp::install_listener(&program.instructions)?)
}

/// Whether a command that this thread starts could be supervised; asking leaves no trace.
///
/// A thread that ends at once tries it: it installs a filter and takes its descriptor, as a
/// supervisor does.
///
/// # Errors
/// What the kernel says, as for [`install_supervised`]; EPERM or ENOSYS where a sandbox forbids
/// one of the calls.
pub fn try_supervision() -> io::Result<()> {
    std::thread::Builder::new()
        .name("steer-seccomp".to_owned())
        .spawn(|| {
            let listener = install_supervised(&Program::nothing())?;
            let own = sys::process::pidfd_open(std::process::id())?;
            Ok(sys::seccomp::duplicate(own.as_fd(), listener.as_fd()).map(drop)?)
        })?
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// io_uring makes socket calls that no filter sees.
fn no_ring() -> [Rule; 3] {
    [
        Call::IoUringSetup,
        Call::IoUringEnter,
        Call::IoUringRegister,
    ]
    .map(|call| Rule::new(call, When::Always, errno(Errno::EPERM)))
}

/// The filter's word for "fails with this".
const fn errno(errno: Errno) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// Options of SOL_SOCKET by which a program asks how its connect went, and to whom.
const ASKED_OPTIONS: [u32; 2] = [
    libc::SO_ERROR.unsigned_abs(),
    libc::SO_PEERNAME.unsigned_abs(),
];

/// Connects and sends at once (linux/socket.h).
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// Numbers of socketcall(2), linux/net.h.
const SYS_SOCKET: u32 = 1;
const SYS_SOCKETPAIR: u32 = 8;

#[cfg(test)]
mod tests;
