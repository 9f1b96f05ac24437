//! Functions that take as many arguments as the caller likes: execl(3) and its kin, syscall(2).
//!
//! Rust cannot define such a function, so a few instructions put the arguments that came in
//! registers before those that came on the stack, where together they are the list that the others
//! of the family take.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

use crate::exec::{behind, environ, execve, execvpe};
use crate::real::List;

/// # Safety
/// As for execl(3).
unsafe extern "C" fn execl_listed(path: *const c_char, arguments: List) -> c_int {
    // SAFETY: as the caller says.
    unsafe { execve(path, arguments, environ) }
}

/// # Safety
/// As for execlp(3).
unsafe extern "C" fn execlp_listed(name: *const c_char, arguments: List) -> c_int {
    // SAFETY: as the caller says.
    unsafe { execvpe(name, arguments, environ) }
}

/// # Safety
/// As for execle(3).
unsafe extern "C" fn execle_listed(path: *const c_char, arguments: List) -> c_int {
    // SAFETY: as the caller says.
    unsafe { execve(path, arguments, behind(arguments)) }
}

#[cfg(target_arch = "x86_64")]
macro_rules! listed {
    ($name:ident, $manual:literal, $target:ident) => {
        #[doc = $manual]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() -> c_int {
            naked_asm!(
                // The return address makes room for the list, which goes on on the stack.
                "pop rax",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {target}",
                "pop rcx",
                "add rsp, 40",
                "jmp rcx",
                target = sym $target,
            )
        }
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! listed {
    ($name:ident, $manual:literal, $target:ident) => {
        #[doc = $manual]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() -> c_int {
            naked_asm!(
                // Seven registers right before what is on the stack, the return address below.
                "sub sp, sp, #80",
                "str x30, [sp]",
                "str x1, [sp, #24]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {target}",
                "ldr x30, [sp]",
                "add sp, sp, #80",
                "ret",
                target = sym $target,
            )
        }
    };
}

listed!(execl, "execl(3)", execl_listed);
listed!(execlp, "execlp(3)", execlp_listed);
listed!(execle, "execle(3)", execle_listed);

/// syscall(2): what programs ask of the kernel by number is steered like what they ask by name, and
/// io_uring, which would connect without either, is refused.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() -> isize {
    use crate::sys::number;
    naked_asm!(
        "cmp rdi, {connect}",
        "je {ours}",
        "cmp rdi, {sendto}",
        "je {ours}",
        "cmp rdi, {sendmsg}",
        "je {ours}",
        "cmp rdi, {sendmmsg}",
        "je {ours}",
        "cmp rdi, {execve}",
        "je {ours}",
        "cmp rdi, {execveat}",
        "je {ours}",
        "cmp rdi, {ring}",
        "je {ours}",
        // All others exactly as a C library makes them: some return twice, on other stacks.
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        "2:",
        "push rax",
        "call {errno}@PLT",
        "pop rcx",
        "neg ecx",
        "mov [rax], ecx",
        "mov rax, -1",
        "ret",
        connect = const number::CONNECT,
        sendto = const number::SENDTO,
        sendmsg = const number::SENDMSG,
        sendmmsg = const number::SENDMMSG,
        execve = const number::EXECVE,
        execveat = const number::EXECVEAT,
        ring = const number::IO_URING_SETUP,
        ours = sym numbered,
        errno = sym __errno_location,
    )
}

/// syscall(2)
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() -> isize {
    use crate::sys::number;
    naked_asm!(
        "cmp x0, {connect}",
        "b.eq {ours}",
        "cmp x0, {sendto}",
        "b.eq {ours}",
        "cmp x0, {sendmsg}",
        "b.eq {ours}",
        "cmp x0, {sendmmsg}",
        "b.eq {ours}",
        "cmp x0, {execve}",
        "b.eq {ours}",
        "cmp x0, {execveat}",
        "b.eq {ours}",
        "cmp x0, {ring}",
        "b.eq {ours}",
        "mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc 0",
        "cmn x0, #4095",
        "b.hs 2f",
        "ret",
        "2:",
        "stp x30, x0, [sp, #-16]!",
        "bl {errno}",
        "ldp x30, x1, [sp], #16",
        "neg w1, w1",
        "str w1, [x0]",
        "mov x0, #-1",
        "ret",
        connect = const number::CONNECT,
        sendto = const number::SENDTO,
        sendmsg = const number::SENDMSG,
        sendmmsg = const number::SENDMMSG,
        execve = const number::EXECVE,
        execveat = const number::EXECVEAT,
        ring = const number::IO_URING_SETUP,
        ours = sym numbered,
        errno = sym __errno_location,
    )
}

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// # Safety
/// As for syscall(2).
unsafe extern "C" fn numbered(
    call: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    use crate::connect::connect;
    use crate::datagram::{sendmmsg, sendmsg, sendto};
    use crate::exec::execveat;
    use crate::settings::settings;
    use crate::sys::{self, EPERM, number};
    let fd = a as c_int;
    // SAFETY: the arguments are those of the function of the call's name.
    unsafe {
        match call {
            number::CONNECT => connect(fd, b as *const u8, c as u32) as isize,
            number::SENDTO => sendto(fd, b as *const _, c, d as c_int, e as *const u8, f as u32),
            number::SENDMSG => sendmsg(fd, b as *const _, c as c_int),
            number::SENDMMSG => sendmmsg(fd, b as *mut _, c as u32, d as c_int) as isize,
            number::EXECVE => execve(a as *const c_char, b as List, c as List) as isize,
            number::EXECVEAT => {
                execveat(fd, b as *const c_char, c as List, d as List, e as c_int) as isize
            }
            number::IO_URING_SETUP if settings().is_some_and(|settings| !settings.open) => {
                sys::fail(EPERM) as isize
            }
            other => match sys::call(other, [a, b, c, d, e, f]) {
                Ok(result) => result as isize,
                Err(sys::Errno(errno)) => sys::fail(errno) as isize,
            },
        }
    }
}
