//! System calls without a safe wrapper: attaching, links and what a namespace is called.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use aya::Pod;
use aya::maps::{MapData, RingBuf};
use nix::errno::Errno;
use nix::libc;
use tokio::io::unix::AsyncFd;

use crate::abi::{Config, Event, Inbound, NetKey, Owner, Pair, Place, Slot, Slots, Token};

// SAFETY: plain data without padding, of which every pattern of bits is a value (abi.rs).
unsafe impl Pod for Token {}
// SAFETY: as above.
unsafe impl Pod for Slot {}
// SAFETY: as above.
unsafe impl Pod for Slots {}
// SAFETY: as above.
unsafe impl Pod for Pair {}
// SAFETY: as above.
unsafe impl Pod for Place {}
// SAFETY: as above.
unsafe impl Pod for Config {}
// SAFETY: as above.
unsafe impl Pod for NetKey {}
// SAFETY: as above.
unsafe impl Pod for Inbound {}
// SAFETY: as above.
unsafe impl Pod for Owner {}
// SAFETY: as above.
unsafe impl Pod for Event {}

/// The attributes of BPF_PROG_ATTACH and BPF_PROG_DETACH (bpf(2), linux/bpf.h).
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Those of BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    kind: u32,
    flags: u32,
}

/// Those of BPF_LINK_DETACH.
#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// Those of BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    unused: u32,
}

/// Those of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct Describe {
    fd: u32,
    length: u32,
    info: u64,
}

/// Those of BPF_PROG_BIND_MAP.
#[repr(C)]
struct Bind {
    program: u32,
    map: u32,
    flags: u32,
}

/// What the information about programs and links starts with.
#[repr(C)]
#[derive(Default)]
struct Head {
    kind: u32,
    id: u32,
}

/// Attaches a program to a cgroup beside those of others; it stays until it is detached.
pub(crate) fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    let mut attributes = Attach {
        target: number(cgroup.as_raw_fd()),
        program: number(program.as_raw_fd()),
        kind,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a program from a cgroup; `false` where it was not attached.
pub(crate) fn detach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    kind: u32,
) -> io::Result<bool> {
    let mut attributes = Attach {
        target: number(cgroup.as_raw_fd()),
        program: number(program.as_raw_fd()),
        kind,
        flags: 0,
    };
    match bpf(BPF_PROG_DETACH, &mut attributes) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The ids of the programs that are attached to a cgroup itself, by whomever, links included.
pub(crate) fn attached(cgroup: BorrowedFd<'_>, kind: u32) -> io::Result<Vec<u32>> {
    // The kernel's own limit (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0_u32; 64];
    let mut attributes = Query {
        target: number(cgroup.as_raw_fd()),
        kind,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).expect("64 fits"),
        unused: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    Ok(ids[..ids.len().min(attributes.count as usize)].to_vec())
}

/// Attaches a program to a cgroup or a network namespace for as long as the link is held.
pub(crate) fn link(
    target: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    kind: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        program: number(program.as_raw_fd()),
        target: number(target.as_raw_fd()),
        kind,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attributes)?;
    // SAFETY: the call has made this descriptor (close-on-exec), and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends what a link attaches, whoever else holds it; ended already is success.
pub(crate) fn unlink(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkDetach {
        link: number(link.as_raw_fd()),
    };
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// The kernel's number of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut head = Head::default();
    let mut attributes = Describe {
        fd: number(program.as_raw_fd()),
        length: u32::try_from(size_of::<Head>()).expect("it is short"),
        info: (&raw mut head) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(head.id)
}

/// Has a program hold a map that it does not use.
pub(crate) fn bind(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Bind {
        program: number(program.as_raw_fd()),
        map: number(map.as_raw_fd()),
        flags: 0,
    };
    bpf(BPF_PROG_BIND_MAP, &mut attributes).map(drop)
}

/// The cookie of the network namespace that a socket is in.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    // SAFETY: both pointers lead to values of ours that outlive the call, and `length` is the size
    // of the first.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(done)?;
    Ok(cookie)
}

/// A ring buffer that the runtime tells of when something is in it.
pub(crate) fn watched(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the buffer owns the descriptor of its map, which is the same one and open for as long
    // as the buffer lives.
    unsafe { AsyncFd::register(ring) }.map_err(io::Error::from)
}

/// Waits until no processor runs a program that has begun before.
pub(crate) fn grace_period() -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    Errno::result(done)?;
    Ok(())
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attributes` is plain data of this size; where it holds an address, that is of a
    // buffer of the caller's which is as long as it says and outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    let done = Errno::result(done)?;
    Ok(RawFd::try_from(done).expect("descriptors are small"))
}

fn number(fd: RawFd) -> u32 {
    u32::try_from(fd).expect("an open descriptor is not negative")
}

const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_PROG_BIND_MAP: libc::c_int = 35;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const SO_NETNS_COOKIE: libc::c_int = 71;
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
