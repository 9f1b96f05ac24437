//! `getpeername`: the program sees the peer that it asked for.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::call::{ALLOW, Call, Form, Protocol, V4, V6};
use crate::end::{End, protocol_key, words};
use crate::maps::{CONNECTED, kept};

#[cgroup_sock_addr(getpeername4)]
pub fn give_getpeername4(context: SockAddrContext) -> i32 {
    name::<V4>(Call::new(&context))
}

#[cgroup_sock_addr(getpeername6)]
pub fn give_getpeername6(context: SockAddrContext) -> i32 {
    name::<V6>(Call::new(&context))
}

#[inline(always)]
fn name<F: Form>(call: Call) -> i32 {
    let protocol = protocol_key(call.protocol() == Protocol::Udp);
    let Some(key) = call.end::<F>().token(protocol) else {
        return ALLOW;
    };
    if let Some(slot) = kept(&CONNECTED, call.socket())
        && slot.key == key
    {
        call.redirect::<F>(End {
            words: words(slot.destination),
            port: slot.port,
        });
    }
    ALLOW
}
