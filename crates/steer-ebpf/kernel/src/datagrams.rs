//! Datagrams of sockets that are not connected: `sendmsg` to the engine under a token, `recvmsg`
//! from the original destination.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_current_uid_gid;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::abi::{COUNT_EXHAUSTED, KEY_UDP, Pair, SLOTS, Slot, Slots, TokenKey};
use crate::call::{ALLOW, Call, Form, V4, V6, refuse};
use crate::decision::{self, Decision, Taking};
use crate::end::{End, words};
use crate::maps::{CONNECTED, OVERFLOW, PEERS, PLACES, SENT, count, keep, kept};
use crate::token::{self, Room};

#[cgroup_sock_addr(sendmsg4)]
pub fn take_sendmsg4(context: SockAddrContext) -> i32 {
    send::<V4>(Call::new(&context))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn take_sendmsg6(context: SockAddrContext) -> i32 {
    send::<V6>(Call::new(&context))
}

#[cgroup_sock_addr(recvmsg4)]
pub fn give_recvmsg4(context: SockAddrContext) -> i32 {
    receive::<V4>(Call::new(&context))
}

#[cgroup_sock_addr(recvmsg6)]
pub fn give_recvmsg6(context: SockAddrContext) -> i32 {
    receive::<V6>(Call::new(&context))
}

#[inline(always)]
fn send<F: Form>(call: Call) -> i32 {
    let to = call.end::<F>();
    let pair = pair(call.cookie(), to);
    // What it sends to whoever has sent to it is a server's answer.
    // SAFETY: only whether it is there is asked.
    if unsafe { PEERS.get(pair) }.is_some() {
        return ALLOW;
    }
    // The kernel sends for a connected socket of IPv6 whose peer is of IPv4 as if by `sendmsg`, to the
    // token that `connect` was given.
    if let Some(key) = to.token(KEY_UDP)
        && kept(&CONNECTED, call.socket()).is_some_and(|slot| slot.key == key)
    {
        return match decision::is_heard(call, to) {
            true => ALLOW,
            false => refuse(),
        };
    }
    let decision = match decision::over(call, to) {
        Decision::Take(taking) => take::<F>(call, to, &pair, taking),
        decided => decided,
    };
    match decision {
        Decision::Refuse => refuse(),
        Decision::Leave | Decision::Take(_) => ALLOW,
    }
}

/// Sends a datagram to the engine, under the token that its socket has for the destination already,
/// or under one more.
#[inline(always)]
fn take<F: Form>(call: Call, to: End, pair: &Pair, taking: Taking) -> Decision {
    let Taking {
        port,
        otherwise,
        fresh,
    } = taking;
    let key = match again(call, to, pair) {
        Some(key) => key,
        None if !fresh => return otherwise.decision(),
        None => {
            let Some(key) = token::allocate(call, to, token::clock()) else {
                return otherwise.decision();
            };
            if !remember(call, to, pair, key) {
                token::end(key, pair.cookie);
                return otherwise.decision();
            }
            key
        }
    };
    call.redirect::<F>(End::of_token(key, port));
    Decision::Take(taking)
}

/// The token that the socket has for a destination.
#[inline(always)]
fn again(call: Call, to: End, pair: &Pair) -> Option<TokenKey> {
    if let Some(sent) = kept(&SENT, call.socket()) {
        for slot in &sent.slots {
            if is_for(slot, to) {
                return refresh(slot.key, pair.cookie);
            }
        }
    }
    // SAFETY: the memory is an entry's of this map as long as the program runs. Should it be another
    // one's by now, so is the token.
    let slot = unsafe { OVERFLOW.get(pair) }?;
    let (key, is_its) = (slot.key, is_for(slot, to));
    is_its.then(|| refresh(key, pair.cookie))?
}

/// Says that a token is in use; none if it was taken away after a long silence.
#[inline(always)]
fn refresh(key: TokenKey, cookie: u64) -> Option<TokenKey> {
    token::refresh(key, cookie).then_some(key)
}

#[inline(always)]
fn is_for(slot: &Slot, to: End) -> bool {
    slot.key != 0 && slot.port == to.port && words(slot.destination) == to.words
}

/// Keeps a token with its socket, in the place of one that is gone if there is such; whether there
/// was room.
#[inline(always)]
fn remember(call: Call, to: End, pair: &Pair, key: TokenKey) -> bool {
    let new = Slot::new(key, to);
    if let Some(sent) = keep(&SENT, call.socket()) {
        for slot in &mut sent.slots {
            let is_free = slot.key == 0 || is_for(slot, to) || !token::is_of(slot.key, pair.cookie);
            if is_free {
                *slot = new;
                return true;
            }
        }
    }
    let is_kept = OVERFLOW.insert(pair, new, 0).is_ok();
    if !is_kept {
        count(COUNT_EXHAUSTED);
    }
    is_kept
}

/// Gives a datagram the sender that the program knows, or notes who sends to it.
#[inline(always)]
fn receive<F: Form>(call: Call) -> i32 {
    let from = call.end::<F>();
    match from.token(KEY_UDP) {
        Some(key) => {
            if let Some(asked) = asked(call, from, key) {
                call.redirect::<F>(asked);
            }
        }
        None => note(call, from),
    }
    ALLOW
}

/// What the program asked for under a token; none where the token is another socket's, or where
/// the datagram is not from a listener of the engine's.
#[inline(always)]
fn asked(call: Call, from: End, key: TokenKey) -> Option<End> {
    // SAFETY: the memory is an entry's of this map as long as the program runs.
    let place = unsafe { PLACES.get(call.netns()) }?;
    if !place.has(call.protocol(), from.port) {
        return None;
    }
    if let Some(slot) = kept(&CONNECTED, call.socket())
        && slot.key == key
    {
        return Some(slot.end());
    }
    // A late answer finds what its socket keeps also when the token itself is gone.
    if let Some(sent) = kept(&SENT, call.socket()) {
        for slot in &sent.slots {
            if slot.key == key {
                return Some(slot.end());
            }
        }
    }
    let mut room = Room::uninit();
    // Sockets that share a port get each other's answers; only those of one user can.
    // SAFETY: takes nothing.
    let uid = unsafe { bpf_get_current_uid_gid() } as u32;
    let token = token::copy(key, &mut room)?;
    (token.cookie == call.cookie() || token.uid == uid).then_some(End {
        words: words(token.destination),
        port: token.port,
    })
}

/// Notes who has sent to a socket.
#[inline(always)]
fn note(call: Call, from: End) {
    if !decision::may_refuse_datagrams(call) {
        return;
    }
    let pair = pair(call.cookie(), from);
    // SAFETY: only whether it is there is asked; asking keeps it among those last used.
    if unsafe { PEERS.get(pair) }.is_none() {
        let _ = PEERS.insert(pair, token::clock(), BPF_NOEXIST.into());
    }
}

#[inline(always)]
fn pair(cookie: u64, end: End) -> Pair {
    Pair {
        cookie,
        address: end.address(),
        port: end.port,
        unused: [0; 3],
    }
}

impl Slot {
    /// What the program asked for.
    #[inline(always)]
    pub fn end(&self) -> End {
        End {
            words: words(self.destination),
            port: self.port,
        }
    }
}

/// As long as this holds, every loop over slots is short enough for the verifier.
const _: () = assert!(SLOTS <= 16 && size_of::<Slots>() == SLOTS * size_of::<Slot>());
