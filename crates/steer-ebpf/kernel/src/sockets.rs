//! Sockets whose traffic nobody can take: raw ones, ICMP, SCTP and so on.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::abi::{COUNT_REFUSED, DO_CLOSED, DO_HERE, DO_OTHERS};
use crate::maps::count;
use crate::{decision, engine, scope};

/// Refuses with EPERM, as the kernel does where there is no privilege.
#[cgroup_sock(sock_create)]
pub fn refuse_socket(context: SockContext) -> i32 {
    let sock: *mut bpf_sock = context.sock;
    // SAFETY: the kernel's context.
    let (kind, protocol) = unsafe { ((*sock).type_, (*sock).protocol) };
    if kind != RAW && matches!(protocol, TCP | UDP | MPTCP) {
        return ALLOW;
    }
    let Some((config, generation)) = decision::configuration() else {
        return ALLOW;
    };
    if config.flags & ALL != ALL {
        return ALLOW;
    }
    // SAFETY: the kernel's context.
    let netns = unsafe { bpf_get_netns_cookie(sock.cast()) };
    let is_meant =
        (config.flags & DO_HERE == 0 || config.netns == netns) && scope::holds(generation);
    if is_meant && !engine::calls() {
        count(COUNT_REFUSED);
        return REFUSE;
    }
    ALLOW
}

const ALL: u32 = DO_CLOSED | DO_OTHERS;
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const RAW: u32 = 3;
const TCP: u32 = 6;
const UDP: u32 = 17;
const MPTCP: u32 = 262;
