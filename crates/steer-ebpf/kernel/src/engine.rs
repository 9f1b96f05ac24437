//! Which process the engine is: sockets that it makes have no mark yet while they are made.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::maps::ENGINES;

/// Notes that the calling process has made a call on a socket with the engine's mark.
#[inline(always)]
pub fn note() {
    let process = current();
    if !is_known(process) {
        // Where there is no room it is noted with its next call.
        let _ = ENGINES.insert(process, 1, 0);
    }
}

/// Whether the calling process is one that was noted.
#[inline(always)]
pub fn calls() -> bool {
    is_known(current())
}

#[inline(always)]
fn is_known(process: u32) -> bool {
    // SAFETY: the value is not read.
    unsafe { ENGINES.get(process) }.is_some()
}

#[inline(always)]
fn current() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
