//! The system calls that have no safe wrapper, one operation a block.
#![allow(unsafe_code)]

pub(crate) mod bpf;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod socket;
pub(crate) mod tun;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// Switches an option of a netlink socket on.
pub(crate) fn netlink_option(fd: BorrowedFd<'_>, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: `on` outlives the call and the length is its own; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Answers carry only the header of a refused request.
pub(crate) const NETLINK_CAP_ACK: libc::c_int = libc::NETLINK_CAP_ACK;
/// Answers carry the kernel's own words.
pub(crate) const NETLINK_EXT_ACK: libc::c_int = libc::NETLINK_EXT_ACK;

/// Lists are filtered by what their request says.
pub(crate) const NETLINK_GET_STRICT_CHK: libc::c_int = libc::NETLINK_GET_STRICT_CHK;

/// A mount of the cgroup2 hierarchy that has no place in the file tree.
pub(crate) fn detached_cgroup2() -> Result<OwnedFd, Errno> {
    // SAFETY: the name is a NUL-terminated constant; the result is checked before use.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"cgroup2".as_ptr(), FSOPEN_CLOEXEC) };
    let context = fd_of(context)?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: the descriptor is open, and FSCONFIG_CMD_CREATE takes no key and no value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            nothing,
            nothing,
            0,
        )
    };
    Errno::result(created)?;
    // SAFETY: the descriptor is open; the call takes numbers only.
    let mount =
        unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
    fd_of(mount)
}

/// Opens a directory of the file system that `root` is of by the kernel's number of it, as kernfs
/// has them (`FILEID_KERNFS`, linux/exportfs.h; open_by_handle_at(2)).
pub(crate) fn open_by_number(root: BorrowedFd<'_>, number: u64) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        number: [u8; 8],
    }
    let handle = Handle {
        bytes: 8,
        kind: FILEID_KERNFS,
        number: number.to_ne_bytes(),
    };
    // SAFETY: `handle` has the layout of a `struct file_handle` with as many bytes behind it as it
    // says, and outlives the call; the kernel only reads it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &raw const handle,
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
        )
    };
    fd_of(fd)
}

fn fd_of(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd =
        RawFd::try_from(Errno::result(result)?).expect("the kernel numbers descriptors in 31 bits");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const FILEID_KERNFS: i32 = 0xfe;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
