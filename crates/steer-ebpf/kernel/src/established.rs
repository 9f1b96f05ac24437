//! What becomes of a connection that was taken (`sock_ops`): where it comes from, its failure, its
//! end.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;

use crate::abi::{KEY_V6, Place, Slot};
use crate::end::{End, address};
use crate::maps::{CONNECTED, PLACES, kept};
use crate::token;

#[sock_ops]
pub fn note_sockops(context: SockOpsContext) -> u32 {
    match context.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => note_source(&context),
        BPF_SOCK_OPS_STATE_CB => note_end(&context),
        _ => {}
    }
    1
}

/// The kernel has chosen the source and is about to send the first packet: the engine takes a
/// connection for the token's only if it comes from there.
#[inline(always)]
fn note_source(context: &SockOpsContext) {
    let Some((slot, cookie)) = slot(context) else {
        return;
    };
    if token::source_port(slot.key, cookie) != Some(0) {
        return;
    }
    let source = if slot.key & KEY_V6 == 0 {
        End::v4(context.local_ip4(), 0)
    } else {
        End {
            words: local_ip6(context),
            port: 0,
        }
    };
    let port = context.local_port() as u16;
    token::change(slot.key, cookie, |token| {
        token.source = address(source.words);
        token.source_port = port;
        true
    });
    let _ = context.set_cb_flags((context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// A connection that nobody answered gives its token back; one that was established is left for the
/// engine to accept, however short it lived.
#[inline(always)]
fn note_end(context: &SockOpsContext) {
    if context.arg(1) != CLOSE {
        return;
    }
    let Some((slot, cookie)) = slot(context) else {
        return;
    };
    // Another proxy may never ask about a connection, and nobody else ends its token.
    // SAFETY: the kernel's context, and the memory of an entry of this map.
    let place = unsafe { PLACES.get(bpf_get_netns_cookie(context.ops.cast())) };
    let is_external = place.is_some_and(Place::is_external);
    if is_external || context.arg(0) == SYN_SENT {
        token::end(slot.key, cookie);
    } else {
        token::close(slot.key, cookie);
    }
}

/// What the socket keeps, with its number.
#[inline(always)]
fn slot(context: &SockOpsContext) -> Option<(&'static Slot, u64)> {
    // SAFETY: the kernel's context.
    let socket = unsafe { (*context.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    let slot = kept(&CONNECTED, socket.cast())?;
    if slot.key == 0 {
        return None;
    }
    // SAFETY: the kernel's context.
    let cookie = unsafe { bpf_get_socket_cookie(context.ops.cast()) };
    Some((slot, cookie))
}

/// Word by word, as the verifier wants it.
#[inline(always)]
fn local_ip6(context: &SockOpsContext) -> [u32; 4] {
    // SAFETY: the kernel's context.
    unsafe {
        let words = core::ptr::addr_of_mut!((*context.ops).local_ip6).cast::<u32>();
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    }
}

const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;
