//! What a descriptor of a device is asked and told, for which there is no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// What the kernel says of the device behind a descriptor (TUNGETIFF).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The device's name.
    pub(crate) name: String,
    /// Its flags (`IFF_TUN` and so on of linux/if_tun.h).
    pub(crate) flags: i32,
}

/// Asks which device a descriptor is of.
///
/// # Errors
/// It is of none.
pub(crate) fn attached(fd: BorrowedFd<'_>) -> io::Result<Attached> {
    // SAFETY: plain numbers and arrays, of which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one ifreq, which lives until the call returns.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as _, &mut request) };
    Errno::result(done)?;
    // SAFETY: TUNGETIFF sets the flags, which every pattern of bits is a value of.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let name = request.ifr_name.map(|c| c as u8);
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(Attached {
        name: name.to_string_lossy().into_owned(),
        flags: i32::from(flags as u16),
    })
}

/// The length of the header before each packet (TUNGETVNETHDRSZ).
///
/// # Errors
/// What the kernel says.
pub(crate) fn header_length(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut length: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives until the call returns.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETVNETHDRSZ as _, &mut length) };
    Errno::result(done)?;
    usize::try_from(length).map_err(io::Error::other)
}

/// Says what packets the device may give: the flags `TUN_F_…` of linux/if_tun.h (TUNSETOFFLOAD).
///
/// # Errors
/// The kernel does not know one of them.
pub(crate) fn offer(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the argument is a number, and the kernel writes nothing.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, flags) };
    Errno::result(done)?;
    Ok(())
}

/// A duplicate of a descriptor that this process inherited, close-on-exec.
///
/// # Errors
/// There is none with this number.
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: nothing is assumed of the descriptor: where nobody has it, fcntl says so.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fd.try_clone_to_owned()
}
