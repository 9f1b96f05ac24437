//! The name of the calling process, by what the user's side knows of this kernel.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
};
use aya_ebpf::helpers::bpf_get_current_comm;

/// Where the kernel keeps, in a `task_struct`, which thread leads its process. 0 where that is not
/// known, or may not be read: then the name is that of the calling thread.
///
/// Written before the programs are loaded; read-only to them, so that the verifier looks at what
/// holds alone.
#[unsafe(no_mangle)]
static TASK_GROUP_LEADER: u32 = 0;
/// Where it keeps the thread's name.
#[unsafe(no_mangle)]
static TASK_COMM: u32 = 0;

/// The name of the calling process, filled up with zeros; none where there is none.
#[inline(always)]
pub fn name() -> Option<[u8; NAME]> {
    match of_leader() {
        Some(name) => Some(name),
        None => bpf_get_current_comm().ok(),
    }
}

/// The name of the thread that leads it, which is that of the process to everybody else.
#[inline(always)]
fn of_leader() -> Option<[u8; NAME]> {
    // SAFETY: statics that live for ever.
    let (leader_at, name_at) = unsafe {
        (
            addr_of!(TASK_GROUP_LEADER).read_volatile(),
            addr_of!(TASK_COMM).read_volatile(),
        )
    };
    if leader_at == 0 || name_at == 0 {
        return None;
    }
    let mut leader = 0_u64;
    // SAFETY: the kernel copies as many bytes as are said, or none where nothing is at the address.
    let read = unsafe {
        let from = bpf_get_current_task() + u64::from(leader_at);
        bpf_probe_read_kernel(addr_of_mut!(leader).cast(), 8, from as *const _)
    };
    if read != 0 {
        return None;
    }
    let mut name = [0; NAME];
    // What is behind its end stays zero.
    // SAFETY: as above.
    let read = unsafe {
        let from = leader + u64::from(name_at);
        bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), NAME as u32, from as *const _)
    };
    (read > 0).then_some(name)
}

/// How long a name is, with the zero at its end.
const NAME: usize = 16;
