//! A token: the address on loopback that stands for an original destination.

use core::mem::{MaybeUninit, size_of};
use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::bindings::{BPF_EXIST, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_prandom_u32, bpf_ktime_get_boot_ns,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::abi::{COUNT_EXHAUSTED, COUNT_TAKEN, KEY_V6, Slot, TOKEN_LAST, Token, TokenKey};
use crate::call::{Call, Protocol};
use crate::end::{End, NUMBER, protocol_key};
use crate::maps::{TOKENS, count};
use crate::process;

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
        closed: 0,
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: ids as u32,
        gid: (ids >> 32) as u32,
        port: to.port,
        source_port: 0,
        command: process::name().unwrap_or([0; 16]),
    };
    for _ in 0..TRIES {
        // SAFETY: takes nothing.
        let number = unsafe { bpf_get_prandom_u32() } & NUMBER;
        let key = protocol_key(is_udp) | family | u64::from(number);
        if number == 0 || number > TOKEN_LAST {
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

/// What a token says, if it is this socket's; in the room that is given, as there is little of it.
#[inline(always)]
pub fn read(key: TokenKey, cookie: u64, room: &mut Room) -> Option<&mut Token> {
    copy(key, room).filter(|token| token.cookie == cookie)
}

/// What a token says.
///
/// The memory of an entry that is removed is another entry's at once: what was copied is the token
/// only if the entry is at the same place still (which programs may ask under CAP_PERFMON alone).
#[inline(always)]
pub fn copy(key: TokenKey, room: &mut Room) -> Option<&mut Token> {
    let entry = TOKENS.get_ptr(key)?;
    let (from, to) = (entry.cast::<u64>(), room.as_mut_ptr().cast::<u64>());
    for word in 0..size_of::<Token>() / size_of::<u64>() {
        // SAFETY: the memory is an entry's of this map as long as the program runs; it is plain
        // data, of which every pattern is a value.
        unsafe { write_volatile(to.add(word), from.add(word).read_volatile()) };
    }
    if TOKENS.get_ptr(key)? != entry {
        return None;
    }
    // SAFETY: all of it was written above.
    Some(unsafe { room.assume_init_mut() })
}

/// Room for a copy of a token.
pub type Room = MaybeUninit<Token>;

/// Whether a token is this socket's.
#[inline(always)]
pub fn is_of(key: TokenKey, cookie: u64) -> bool {
    let entry = TOKENS.get_ptr(key);
    // SAFETY: as above.
    entry.is_some_and(|entry| unsafe { (*entry).cookie } == cookie)
}

/// The port of a token's source, if it is this socket's token.
#[inline(always)]
pub fn source_port(key: TokenKey, cookie: u64) -> Option<u16> {
    read(key, cookie, &mut Room::uninit()).map(|token| token.source_port)
}

/// Puts a changed token in the place of one that is this socket's, if there is a change.
#[inline(always)]
pub fn change(key: TokenKey, cookie: u64, change: impl FnOnce(&mut Token) -> bool) {
    let mut room = Room::uninit();
    if let Some(token) = read(key, cookie, &mut room) {
        if change(token) {
            let _ = TOKENS.insert(key, &*token, BPF_EXIST.into());
        }
    }
}

/// Says that a token of datagrams is in use; `false` where it is not this socket's any more.
///
/// Written in place, as it is at each datagram: the worst that another entry gets, whose memory it
/// were by then, is a somewhat longer silence.
#[inline(always)]
pub fn refresh(key: TokenKey, cookie: u64) -> bool {
    let Some(entry) = TOKENS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: as above.
    let is_its = unsafe { (*entry).cookie } == cookie;
    if is_its {
        // SAFETY: as above.
        unsafe { write_volatile(addr_of_mut!((*entry).last), clock()) };
    }
    is_its
}

/// Ends a token, if it is still this socket's.
#[inline(always)]
pub fn end(key: TokenKey, cookie: u64) {
    if is_of(key, cookie) {
        let _ = TOKENS.remove(key);
    }
}

/// Marks a token, if it is still this socket's: what it has sent may not have been read yet.
#[inline(always)]
pub fn close(key: TokenKey, cookie: u64) {
    token_close(key, cookie);
}

/// A function of its own, as a socket with many tokens comes here for each (see `scope_holds`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn token_close(key: TokenKey, cookie: u64) -> u32 {
    change(key, cookie, |token| {
        token.closed = clock();
        true
    });
    0
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
