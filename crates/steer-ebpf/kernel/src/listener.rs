//! Whether somebody is there to take it, asked at each call: so that nothing is ever sent to an
//! engine that is gone, nor to whoever got its port since.

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
    let is_v4 = to.is_v4();
    let words = first(is_v4);
    let mut tuple = if is_v4 {
        bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: LOCALHOST,
                    daddr: words[3],
                    sport: 0,
                    dport: port.to_be(),
                },
            },
        }
    } else {
        bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                    saddr: words,
                    daddr: words,
                    sport: 0,
                    dport: port.to_be(),
                },
            },
        }
    };
    let size = if is_v4 {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    } as u32;
    let context = call.context();
    // SAFETY: the tuple is as long as is said; the socket is given back below.
    let socket = unsafe {
        match call.protocol() {
            Protocol::Udp => bpf_sk_lookup_udp(context, &mut tuple, size, HERE, 0),
            Protocol::Tcp | Protocol::Other => {
                bpf_sk_lookup_tcp(context, &mut tuple, size, HERE, 0)
            }
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
