//! The ioctls of TUN and TAP devices (tuntap.txt of the kernel's documentation).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// A `struct ifreq` with flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the descriptor a queue of the device with this name (TUNSETIFF).
pub(crate) fn set_interface(fd: BorrowedFd<'_>, name: &str, flags: u16) -> Result<(), Errno> {
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags,
        rest: [0; 22],
    };
    let bytes = name.as_bytes();
    if bytes.len() >= libc::IFNAMSIZ {
        return Err(Errno::ENAMETOOLONG);
    }
    request.name[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: `request` has the layout and size of a `struct ifreq` and outlives the call, which
    // reads it and writes the name back.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(done).map(drop)
}

/// The name and the flags of the device that a descriptor is a queue of (TUNGETIFF). The bit of
/// `IFF_NO_PI` is told of every device, since it is that of `IFF_NOFILTER` too.
pub(crate) fn interface(fd: BorrowedFd<'_>) -> Result<(String, u16), Errno> {
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: 0,
        rest: [0; 22],
    };
    // SAFETY: `request` has the layout and size of a `struct ifreq` and outlives the call, which
    // writes to it.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    Errno::result(done)?;
    let end = request.name.iter().position(|b| *b == 0);
    let name = &request.name[..end.unwrap_or(request.name.len())];
    Ok((String::from_utf8_lossy(name).into_owned(), request.flags))
}

/// The network namespace that the device was made in (SIOCGSKNS).
pub(crate) fn namespace(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no argument, and its result is checked before use.
    let opened = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCGSKNS) };
    let opened = Errno::result(opened)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Says what the device may leave to whoever reads it (TUNSETOFFLOAD).
pub(crate) fn set_offloads(fd: BorrowedFd<'_>, features: u32) -> Result<(), Errno> {
    let features = libc::c_ulong::from(features);
    // SAFETY: the call takes a number, and no memory.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, features) };
    Errno::result(done).map(drop)
}

/// linux/sockios.h
const SIOCGSKNS: libc::Ioctl = 0x894c;
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
