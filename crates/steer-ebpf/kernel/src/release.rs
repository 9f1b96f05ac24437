//! The end of a socket (Linux 5.9 and later): what was its alone goes with it, but for what the
//! engine has yet to look at.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::abi::{KEY_UDP, TokenKey};
use crate::maps::{CONNECTED, SENT, kept};
use crate::token;

#[cgroup_sock(sock_release)]
pub fn release_socket(context: SockContext) -> i32 {
    let sock: *mut bpf_sock = context.sock;
    // SAFETY: the kernel's context.
    let cookie = unsafe { bpf_get_socket_cookie(sock.cast()) };
    if let Some(slot) = kept(&CONNECTED, sock.cast()) {
        end_connected(slot.key, cookie);
    }
    if let Some(sent) = kept(&SENT, sock.cast()) {
        for slot in &sent.slots {
            if slot.key != 0 {
                token::close(slot.key, cookie);
            }
        }
    }
    1
}

/// A connection's token is the engine's to end, as it may not have accepted it yet; not that of a
/// `connect` that failed before anything was sent.
#[inline(always)]
fn end_connected(key: TokenKey, cookie: u64) {
    if key & KEY_UDP != 0 {
        token::close(key, cookie);
    } else if token::source_port(key, cookie) == Some(0) {
        token::end(key, cookie);
    }
}
