//! Calling conventions and the numbers that the calls have in them.

use nix::libc;

/// A calling convention: the same number means another call in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// The machine's own, 64 bits wide.
    Native,
    /// The one of 32-bit programs on it: i386 on x86-64, ARM on aarch64.
    Compat,
}

/// A system call that filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// socket(2)
    Socket,
    /// socketpair(2)
    Socketpair,
    /// connect(2)
    Connect,
    /// sendto(2)
    Sendto,
    /// sendmsg(2)
    Sendmsg,
    /// sendmmsg(2)
    Sendmmsg,
    /// getsockopt(2)
    Getsockopt,
    /// getpeername(2)
    Getpeername,
    /// socketcall(2): another of these calls by number, with its arguments in memory.
    Socketcall,
    /// io_uring_setup(2)
    IoUringSetup,
    /// io_uring_enter(2)
    IoUringEnter,
    /// io_uring_register(2)
    IoUringRegister,
}

impl Abi {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Native, Self::Compat];

    /// The kernel's number of it (`AUDIT_ARCH_*`, linux/audit.h).
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Native => 0xc000_003e,
            #[cfg(target_arch = "x86_64")]
            Self::Compat => 0x4000_0003,
            #[cfg(target_arch = "aarch64")]
            Self::Native => 0xc000_00b7,
            #[cfg(target_arch = "aarch64")]
            Self::Compat => 0x4000_0028,
        }
    }

    /// The number of a call, where the convention has it.
    #[must_use]
    pub fn number(self, call: Call) -> Option<u32> {
        let number = match self {
            Self::Native => native(call)?,
            Self::Compat => return compat(call),
        };
        Some(u32::try_from(number).expect("numbers of calls are small"))
    }

    /// The convention and call of a notification; `None` for what no filter of ours puts.
    #[must_use]
    pub fn read(audit: u32, number: i32) -> Option<(Self, Call)> {
        let abi = Self::ALL.into_iter().find(|abi| abi.audit() == audit)?;
        let number = u32::try_from(number).ok()?;
        let call = Call::ALL
            .into_iter()
            .find(|call| abi.number(*call) == Some(number))?;
        Some((abi, call))
    }
}

impl Call {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Socket,
        Self::Socketpair,
        Self::Connect,
        Self::Sendto,
        Self::Sendmsg,
        Self::Sendmmsg,
        Self::Getsockopt,
        Self::Getpeername,
        Self::Socketcall,
        Self::IoUringSetup,
        Self::IoUringEnter,
        Self::IoUringRegister,
    ];

    /// The call that a number of socketcall(2) stands for, among those that a supervisor is told.
    #[must_use]
    pub fn of_socketcall(number: u32) -> Option<Self> {
        SOCKETCALLS
            .iter()
            .find_map(|(n, call)| (*n == number).then_some(*call))
    }
}

fn native(call: Call) -> Option<libc::c_long> {
    Some(match call {
        Call::Socket => libc::SYS_socket,
        Call::Socketpair => libc::SYS_socketpair,
        Call::Connect => libc::SYS_connect,
        Call::Sendto => libc::SYS_sendto,
        Call::Sendmsg => libc::SYS_sendmsg,
        Call::Sendmmsg => libc::SYS_sendmmsg,
        Call::Getsockopt => libc::SYS_getsockopt,
        Call::Getpeername => libc::SYS_getpeername,
        Call::Socketcall => return None,
        Call::IoUringSetup => libc::SYS_io_uring_setup,
        Call::IoUringEnter => libc::SYS_io_uring_enter,
        Call::IoUringRegister => libc::SYS_io_uring_register,
    })
}

/// arch/x86/entry/syscalls/syscall_32.tbl
#[cfg(target_arch = "x86_64")]
fn compat(call: Call) -> Option<u32> {
    Some(match call {
        Call::Socket => 359,
        Call::Socketpair => 360,
        Call::Connect => 362,
        Call::Sendto => 369,
        Call::Sendmsg => 370,
        Call::Sendmmsg => 345,
        Call::Getsockopt => 365,
        Call::Getpeername => 368,
        Call::Socketcall => 102,
        Call::IoUringSetup => 425,
        Call::IoUringEnter => 426,
        Call::IoUringRegister => 427,
    })
}

/// arch/arm/tools/syscall.tbl; the convention of the EABI has no socketcall(2).
#[cfg(target_arch = "aarch64")]
fn compat(call: Call) -> Option<u32> {
    Some(match call {
        Call::Socket => 281,
        Call::Socketpair => 288,
        Call::Connect => 283,
        Call::Sendto => 290,
        Call::Sendmsg => 296,
        Call::Sendmmsg => 374,
        Call::Getsockopt => 295,
        Call::Getpeername => 287,
        Call::Socketcall => return None,
        Call::IoUringSetup => 425,
        Call::IoUringEnter => 426,
        Call::IoUringRegister => 427,
    })
}

/// The bit of x32 calls, which come with the architecture of x86-64
/// (`__X32_SYSCALL_BIT`, asm/unistd.h).
#[cfg(target_arch = "x86_64")]
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Numbers of socketcall(2) that a supervisor is told (linux/net.h).
pub(super) const SOCKETCALLS: [(u32, Call); 6] = [
    (3, Call::Connect),
    (7, Call::Getpeername),
    (11, Call::Sendto),
    (15, Call::Getsockopt),
    (16, Call::Sendmsg),
    (20, Call::Sendmmsg),
];
