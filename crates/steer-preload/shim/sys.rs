//! System calls without a C library between: they are no cancellation points, set no errno, and
//! nobody stands before them.

use core::arch::asm;
use core::ffi::{c_char, c_int, c_void};

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);

pub const ENOENT: c_int = 2;
pub const EINTR: c_int = 4;
pub const ENOEXEC: c_int = 8;
pub const EAGAIN: c_int = 11;
pub const EACCES: c_int = 13;
pub const EFAULT: c_int = 14;
pub const ENOTDIR: c_int = 20;
pub const ENAMETOOLONG: c_int = 36;
pub const EPERM: c_int = 1;
pub const E2BIG: c_int = 7;
pub const ENODEV: c_int = 19;
pub const ESTALE: c_int = 116;
pub const ETIMEDOUT: c_int = 110;
pub const EAFNOSUPPORT: c_int = 97;
pub const ECONNRESET: c_int = 104;
pub const ECONNREFUSED: c_int = 111;
pub const EINPROGRESS: c_int = 115;

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const PREAD: usize = 17;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const SENDMSG: usize = 46;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const EXECVE: usize = 59;
    pub const FCNTL: usize = 72;
    pub const GETUID: usize = 102;
    pub const GETGID: usize = 104;
    pub const GETEUID: usize = 107;
    pub const PRCTL: usize = 157;
    pub const FGETXATTR: usize = 193;
    pub const OPENAT: usize = 257;
    pub const NEWFSTATAT: usize = 262;
    pub const FACCESSAT: usize = 269;
    pub const SENDMMSG: usize = 307;
    pub const EXECVEAT: usize = 322;
    pub const IO_URING_SETUP: usize = 425;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const FGETXATTR: usize = 10;
    pub const FCNTL: usize = 25;
    pub const FACCESSAT: usize = 48;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const PREAD: usize = 67;
    pub const NEWFSTATAT: usize = 79;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const PRCTL: usize = 167;
    pub const GETUID: usize = 174;
    pub const GETEUID: usize = 175;
    pub const GETGID: usize = 176;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETSOCKOPT: usize = 209;
    pub const SENDMSG: usize = 211;
    pub const MUNMAP: usize = 215;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const SENDMMSG: usize = 269;
    pub const EXECVEAT: usize = 281;
    pub const IO_URING_SETUP: usize = 425;
}

/// Makes a system call.
///
/// # Safety
/// As the call's manual page says.
#[inline]
pub unsafe fn call(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel keeps every register but these; what the call does is the caller's.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel keeps every register but x0; what the call does is the caller's.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    if (-4095..0).contains(&result) {
        Err(Errno(-(result as c_int)))
    } else {
        Ok(result as usize)
    }
}

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// The calling thread's errno.
pub fn errno() -> c_int {
    // SAFETY: the C library gives every thread a place.
    unsafe { *__errno_location() }
}

/// Sets the calling thread's errno.
pub fn set_errno(value: c_int) {
    // SAFETY: the C library gives every thread a place.
    unsafe { *__errno_location() = value }
}

/// Sets errno and gives what a failed call returns.
pub fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}

/// A descriptor of ours, closed when it is dropped.
pub struct Fd(pub c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        let _ = unsafe { call(number::CLOSE, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A socket option of a few bytes.
///
/// # Safety
/// `T` is what the option holds.
pub unsafe fn option<T: Copy + Default>(fd: c_int, level: c_int, name: c_int) -> Result<T, Errno> {
    let mut value = T::default();
    let mut size = size_of::<T>() as u32;
    // SAFETY: both places live through the call, and the size is theirs.
    unsafe {
        call(
            number::GETSOCKOPT,
            [
                fd as usize,
                level as usize,
                name as usize,
                (&raw mut value) as usize,
                (&raw mut size) as usize,
                0,
            ],
        )?;
    }
    Ok(value)
}

/// Sets a socket option of a few bytes.
///
/// # Safety
/// `T` is what the option holds.
pub unsafe fn set_option<T>(fd: c_int, level: c_int, name: c_int, value: T) -> Result<(), Errno> {
    let size = size_of::<T>();
    let value = (&raw const value) as usize;
    let args = [fd as usize, level as usize, name as usize, value, size, 0];
    // SAFETY: the value lives through the call.
    unsafe { call(number::SETSOCKOPT, args) }.map(drop)
}

/// Whether a descriptor is nonblocking.
pub fn is_nonblocking(fd: c_int) -> bool {
    const F_GETFL: usize = 3;
    const O_NONBLOCK: usize = 0o4000;
    // SAFETY: it changes nothing.
    unsafe { call(number::FCNTL, [fd as usize, F_GETFL, 0, 0, 0, 0]) }
        .is_ok_and(|flags| flags & O_NONBLOCK != 0)
}

/// Writes to the standard error, as far as it goes.
pub fn complain(parts: &[&[u8]]) {
    let mut line = [0_u8; 1024];
    let mut length = 0;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        if let Some(place) = line.get_mut(length) {
            *place = *byte;
            length += 1;
        }
    }
    // SAFETY: the bytes live through the call.
    let _ = unsafe { call(number::WRITE, [2, line.as_ptr() as usize, length, 0, 0, 0]) };
}

/// Whether so many bytes can be read.
///
/// Asked of the kernel, by a call that reads eight bytes before it refuses, and that is left to
/// programs in every sandbox. Where it says no, it says so of the program's own call, too.
pub fn is_readable(place: *const u8, size: usize) -> bool {
    const NO_HOW: usize = usize::MAX;
    // No page is smaller, and what is aligned is in one page.
    const PAGE: usize = 4096;
    let probe = |at: usize| {
        // SAFETY: it changes nothing: there is no such way to change the mask.
        let args = [NO_HOW, at & !7, 0, 8, 0, 0];
        at > 7 && unsafe { call(number::RT_SIGPROCMASK, args) } != Err(Errno(EFAULT))
    };
    let start = place as usize;
    let Some(last) = start.checked_add(size.saturating_sub(1)) else {
        return false;
    };
    (start..last).step_by(PAGE).all(probe) && probe(last)
}

/// The length of a C string.
///
/// # Safety
/// It is one.
pub unsafe fn length(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: every byte up to the zero belongs to the string.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

/// The bytes of a C string, without the zero.
///
/// # Safety
/// It is one, and lives as long as the caller says.
pub unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: these bytes belong to the string.
    unsafe { core::slice::from_raw_parts(text.cast(), length(text)) }
}

/// Ends the process at once.
pub fn abort() -> ! {
    loop {
        // SAFETY: it does not return.
        let _ = unsafe { call(number::EXIT_GROUP, [134, 0, 0, 0, 0, 0]) };
    }
}

/// Memory of its own, given back when it is dropped.
pub struct Pages {
    start: *mut c_void,
    size: usize,
}

impl Pages {
    /// At least so many bytes, all zero.
    pub fn new(size: usize) -> Result<Self, Errno> {
        const READ_WRITE: usize = 3;
        const PRIVATE_ANONYMOUS: usize = 0x22;
        let args = [0, size, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0];
        // SAFETY: nothing else is there.
        let start = unsafe { call(number::MMAP, args)? };
        Ok(Self {
            start: start as *mut c_void,
            size,
        })
    }

    pub const fn start(&self) -> *mut c_void {
        self.start
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let args = [self.start as usize, self.size, 0, 0, 0, 0];
        // SAFETY: the memory is ours, and nobody uses it any more.
        let _ = unsafe { call(number::MUNMAP, args) };
    }
}
