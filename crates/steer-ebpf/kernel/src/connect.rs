//! `connect`, in every way that it can be said: TCP, MPTCP and UDP, fast open among them.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::abi::Slot;
use crate::call::{ALLOW, Call, Form, Protocol, V4, V6, refuse};
use crate::decision::{self, Decision, Taking};
use crate::end::End;
use crate::maps::{CONNECTED, keep, kept};
use crate::token;

#[cgroup_sock_addr(connect4)]
pub fn take_connect4(context: SockAddrContext) -> i32 {
    connect::<V4>(Call::new(&context))
}

#[cgroup_sock_addr(connect6)]
pub fn take_connect6(context: SockAddrContext) -> i32 {
    connect::<V6>(Call::new(&context))
}

#[inline(always)]
fn connect<F: Form>(call: Call) -> i32 {
    let to = call.end::<F>();
    let decision = match decision::over(call, to) {
        Decision::Take(taking) => take::<F>(call, to, taking),
        decided => decided,
    };
    match decision {
        // The kernel leaves such a socket the peer that it has.
        Decision::Refuse => refuse(),
        Decision::Leave => {
            forget(call);
            ALLOW
        }
        Decision::Take(_) => ALLOW,
    }
}

/// Sends a call to the engine.
#[inline(always)]
fn take<F: Form>(call: Call, to: End, taking: Taking) -> Decision {
    let Taking {
        port,
        otherwise,
        fresh,
    } = taking;
    if !fresh {
        return otherwise.decision();
    }
    let is_tcp = call.protocol() == Protocol::Tcp;
    // A connected socket of datagrams is never silent for too long: it ends with its socket.
    let last = if is_tcp { 0 } else { u64::MAX };
    let Some(slot) = keep(&CONNECTED, call.socket()) else {
        return otherwise.decision();
    };
    let Some(key) = token::allocate(call, to, last) else {
        return otherwise.decision();
    };
    let before = slot.key;
    *slot = Slot::new(key, to);
    // It is asked for its peer.
    if let Some(outer) = call.outer()
        && let Some(outer) = keep(&CONNECTED, outer)
    {
        *outer = Slot::new(key, to);
    }
    if before != 0 {
        token::end(before, call.cookie());
    }
    if is_tcp {
        call.prefer_reno();
    }
    call.redirect::<F>(End::of_token(key, port));
    Decision::Take(taking)
}

/// Ends the token of an earlier `connect` of the same socket, which either failed or was of
/// datagrams, whose peer can be changed.
#[inline(always)]
fn forget(call: Call) {
    let Some(slot) = kept(&CONNECTED, call.socket()) else {
        return;
    };
    if slot.key != 0 {
        token::end(slot.key, call.cookie());
        slot.key = 0;
    }
}
