//! Whether somebody is there to take it, asked at each call: so that nothing is ever sent to an
//! engine that is gone, nor to whoever got its port since.

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release};

use crate::abi::{Config, KEY_V6};
use crate::call::{Call, Protocol};
use crate::end::{End, Words};

/// Whether a socket listens at a port of the token addresses that is the engine's (or, where the
/// listener is another proxy's, anybody's).
#[inline(always)]
pub fn is_there(call: Call, config: &Config, to: End, port: u16, is_external: bool) -> bool {
    let Some(mark) = mark(call, to, port) else {
        return false;
    };
    is_external || is_own(config, mark)
}

/// Whether a mark is the engine's.
#[inline(always)]
pub fn is_own(config: &Config, mark: u32) -> bool {
    config.bypass_mask != 0 && mark & config.bypass_mask == config.bypass
}

/// The mark of the socket that would get what is sent to a port of the token addresses.
#[inline(always)]
fn mark(call: Call, to: End, port: u16) -> Option<u32> {
    let words = first(to.is_v4());
    let from = match to.is_v4() {
        true => End::v4(LOCALHOST, 0).words,
        false => words,
    };
    let ends = [End { words: from, port: 0 }, End { words, port }];
    mark_between(call.context(), call.protocol() == Protocol::Udp, ends)
}

/// The mark of the socket that would get what is sent from one end to the other; none where there
/// is no such socket.
#[inline(always)]
pub fn mark_between(context: *mut c_void, is_udp: bool, [from, to]: [End; 2]) -> Option<u32> {
    let is_v4 = to.is_v4();
    let (sport, dport) = (from.port.to_be(), to.port.to_be());
    let mut tuple = if is_v4 {
        bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: from.words[3],
                    daddr: to.words[3],
                    sport,
                    dport,
                },
            },
        }
    } else {
        bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                    saddr: from.words,
                    daddr: to.words,
                    sport,
                    dport,
                },
            },
        }
    };
    let size = if is_v4 {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    } as u32;
    // SAFETY: the tuple is as long as is said; the socket is given back below.
    let socket = unsafe {
        if is_udp {
            bpf_sk_lookup_udp(context, &mut tuple, size, HERE, 0)
        } else {
            bpf_sk_lookup_tcp(context, &mut tuple, size, HERE, 0)
        }
    };
    if socket.is_null() {
        return None;
    }
    // SAFETY: a socket that was found is held until it is given back.
    let mark = unsafe { (*socket).mark };
    // SAFETY: it was found above and is not used further.
    unsafe { bpf_sk_release(socket.cast()) };
    Some(mark)
}

/// An address of the tokens' network: each of them is local wherever one is.
#[inline(always)]
fn first(is_v4: bool) -> Words {
    End::of_token(if is_v4 { 1 } else { KEY_V6 | 1 }, 0).words
}

/// The socket's own network namespace.
const HERE: u64 = u64::MAX;
const LOCALHOST: u32 = 0x7f00_0001_u32.to_be();
