//! The smallest things of bpf(2), to see whether any can be made.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;

/// Makes a map with room for one network, which takes the privilege to use maps at all.
pub(crate) fn map() -> Result<OwnedFd, Errno> {
    let wanted = NewMap {
        kind: MAP_TYPE_LPM_TRIE,
        key: 8,
        value: 4,
        entries: 1,
        flags: F_NO_PREALLOC,
    };
    // SAFETY: the structure is the head of `union bpf_attr` for this command, of the size given, and
    // outlives the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_CREATE,
            &raw const wanted,
            size_of::<NewMap>(),
        )
    };
    super::fd_of(made)
}

/// Loads a program that lets every connect of IPv4 pass, which takes the privilege over the network
/// and a kernel that has the hook. It is attached nowhere.
pub(crate) fn program() -> Result<OwnedFd, Errno> {
    // r0 = 1; exit
    const PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    const LICENSE: &CStr = c"GPL";
    let wanted = NewProgram {
        kind: PROG_TYPE_CGROUP_SOCK_ADDR,
        count: 2,
        instructions: PASS.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log: [0; 2],
        log_at: 0,
        kernel: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        at: CGROUP_INET4_CONNECT,
    };
    // SAFETY: the structure is the head of `union bpf_attr` for this command, of the size given; it
    // and the constants that it points to outlive the call, and the kernel only reads them.
    let made = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const wanted,
            size_of::<NewProgram>(),
        )
    };
    super::fd_of(made)
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct NewMap {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct NewProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 2],
    log_at: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    at: u32,
}

const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const MAP_TYPE_LPM_TRIE: u32 = 11;
const F_NO_PREALLOC: u32 = 1;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_INET4_CONNECT: u32 = 10;
