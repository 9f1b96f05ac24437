//! A token: the address on loopback that stands for an original destination.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_prandom_u32, bpf_ktime_get_boot_ns,
};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};

use crate::abi::{CLOSED, COUNT_EXHAUSTED, COUNT_TAKEN, KEY_V6, Slot, Token, TokenKey};
use crate::call::{Call, Protocol};
use crate::end::{End, NUMBER, protocol_key};
use crate::maps::{TOKENS, count};

/// Makes a token for a socket; none where there is no room for one more.
///
/// Its number is drawn: no word is shared between processors, a number is not used again soon, and
/// nobody can tell the next one. At most one number in 32 is in use, so that all tries fail once in
/// 10^12 calls unless the map is full.
#[inline(always)]
pub fn allocate(call: Call, to: End, last: u64) -> Option<TokenKey> {
    let is_udp = call.protocol() == Protocol::Udp;
    let family = if to.is_v4() { 0 } else { KEY_V6 };
    // SAFETY: none of them takes anything.
    let (ids, cgroup) = unsafe { (bpf_get_current_uid_gid(), bpf_get_current_cgroup_id()) };
    let token = Token {
        destination: to.address(),
        source: [0; 16],
        cookie: call.cookie(),
        netns: call.netns(),
        cgroup,
        made: clock(),
        last,
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: ids as u32,
        gid: (ids >> 32) as u32,
        port: to.port,
        source_port: 0,
        command: bpf_get_current_comm().unwrap_or([0; 16]),
    };
    for _ in 0..TRIES {
        // SAFETY: takes nothing.
        let number = unsafe { bpf_get_prandom_u32() } & NUMBER;
        let key = protocol_key(is_udp) | family | u64::from(number);
        if number == 0 {
            continue;
        }
        match TOKENS.insert(key, token, BPF_NOEXIST.into()) {
            Ok(()) => {
                count(COUNT_TAKEN);
                return Some(key);
            }
            // Somebody else's.
            Err(EEXIST) => {}
            Err(_) => break,
        }
    }
    count(COUNT_EXHAUSTED);
    None
}

/// A token that is this socket's.
#[inline(always)]
pub fn of_socket(key: TokenKey, cookie: u64) -> Option<&'static mut Token> {
    let token = TOKENS.get_ptr_mut(key)?;
    // SAFETY: without preallocation an entry's memory stays as it is until the program has ended;
    // fields that change are written by one side each.
    let token = unsafe { &mut *token };
    (token.cookie == cookie).then_some(token)
}

/// Ends a token, if it is still this socket's.
#[inline(always)]
pub fn end(key: TokenKey, cookie: u64) {
    if of_socket(key, cookie).is_some() {
        let _ = TOKENS.remove(key);
    }
}

/// Marks a token of datagrams, if it is still this socket's: what it has sent may not have been read
/// yet.
#[inline(always)]
pub fn close(key: TokenKey, cookie: u64) {
    if let Some(token) = of_socket(key, cookie) {
        token.last = clock();
        token.source_port = CLOSED;
    }
}

/// Nanoseconds since boot, those asleep among them (Linux 5.8 and later).
#[inline(always)]
pub fn clock() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

impl Slot {
    /// What a socket keeps of its token.
    #[inline(always)]
    pub fn new(key: TokenKey, to: End) -> Self {
        Self {
            key,
            destination: to.address(),
            port: to.port,
            unused: [0; 3],
        }
    }
}

const TRIES: usize = 8;
const EEXIST: i32 = -17;
