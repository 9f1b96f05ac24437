//! `getsockopt(SO_ORIGINAL_DST)`: what another proxy asks of a connection that it has accepted.
//!
//! The names of the kernel's packet filter are answered as it answers them (the structure of the
//! address, ENOENT left where it is for what was not taken), so that such proxies work unchanged.

use core::ffi::c_void;
use core::ptr::{addr_of_mut, write_volatile};

use aya_ebpf::bindings::{bpf_sock, bpf_sockopt};
use aya_ebpf::macros::cgroup_sockopt;
use aya_ebpf::programs::SockoptContext;

use crate::abi::{COUNT_RIDDEN, Slot};
use crate::end::{End, words};
use crate::maps::{ORIGINAL, TOKENS, count, keep, kept};
use crate::token::{self, Room};

#[cgroup_sockopt(getsockopt)]
pub fn answer_getsockopt(context: SockoptContext) -> i32 {
    let option = context.sockopt;
    // SAFETY: the kernel's context.
    let (level, name) = unsafe { ((*option).level, (*option).optname) };
    if name != ORIGINAL_DST || (level != SOL_IP && level != SOL_IPV6) {
        return pass(option);
    }
    // SAFETY: the kernel's context; there is a socket in these programs.
    let sock = unsafe { (*option).__bindgen_anon_1.sk };
    if let Some(slot) = original(sock) {
        answer(option, level, slot.end());
    }
    ALLOW
}

/// Leaves a call as it is. Of what is longer than a page the kernel shows that alone, and fails the
/// call unless it is told to leave the rest as well.
#[inline(always)]
fn pass(option: *mut bpf_sockopt) -> i32 {
    // SAFETY: the kernel's context.
    unsafe {
        if (*option).optlen > PAGE {
            write_volatile(addr_of_mut!((*option).optlen), 0);
        }
    }
    ALLOW
}

/// The original destination of a socket. It is told once by the token, which ends with that, and
/// kept with the socket for whoever asks again.
#[inline(always)]
fn original(sock: *mut bpf_sock) -> Option<Slot> {
    if let Some(slot) = kept(&ORIGINAL, sock.cast::<c_void>())
        && slot.key != 0
    {
        return Some(*slot);
    }
    let (here, there) = ends(sock)?;
    let key = here.token(0)?;
    let mut room = Room::uninit();
    let token = token::copy(key, &mut room)?;
    if token.source_port != there.port || words(token.source) != there.words {
        count(COUNT_RIDDEN);
        return None;
    }
    let slot = Slot {
        key,
        destination: token.destination,
        port: token.port,
        unused: [0; 3],
    };
    *keep(&ORIGINAL, sock.cast::<c_void>())? = slot;
    let _ = TOKENS.remove(key);
    Some(slot)
}

/// Where a TCP socket is and who its peer is.
#[inline(always)]
fn ends(sock: *mut bpf_sock) -> Option<(End, End)> {
    // SAFETY: the socket is there as long as the call. Word by word, as the verifier wants it.
    unsafe {
        if (*sock).protocol != TCP {
            return None;
        }
        let (port, peer) = ((*sock).src_port as u16, u16::from_be((*sock).dst_port));
        let (src4, dst4) = ((*sock).src_ip4, (*sock).dst_ip4);
        // A socket of IPv6 with a mapped address has it here as well.
        let here = End::v4(src4, port);
        if here.token(0).is_some() {
            return Some((here, End::v4(dst4, peer)));
        }
        if (*sock).family != AF_INET6 {
            return None;
        }
        let src6 = six(addr_of_mut!((*sock).src_ip6));
        let dst6 = six(addr_of_mut!((*sock).dst_ip6));
        let end = |words, port| End { words, port };
        Some((end(src6, port), end(dst6, peer)))
    }
}

/// # Safety
///
/// The words must be those of a socket.
#[inline(always)]
unsafe fn six(words: *mut [u32; 4]) -> [u32; 4] {
    let words = words.cast::<u32>();
    // SAFETY: the caller's.
    unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    }
}

/// Writes the answer, if the family is what was asked for and there is room.
#[inline(always)]
fn answer(option: *mut bpf_sockopt, level: i32, end: End) {
    let asked_v4 = level == SOL_IP;
    if asked_v4 != end.is_v4() {
        return;
    }
    // SAFETY: the kernel's context; every store is between the ends that it says.
    unsafe {
        let to = (*option).__bindgen_anon_2.optval.cast::<u32>();
        let limit = (*option).__bindgen_anon_3.optval_end.cast::<u32>();
        let port = u32::from(end.port.to_be()) << 16;
        if asked_v4 {
            if to.add(4) > limit {
                return;
            }
            write_volatile(to, AF_INET | port);
            write_volatile(to.add(1), end.words[3]);
            write_volatile(to.add(2), 0);
            write_volatile(to.add(3), 0);
            write_volatile(addr_of_mut!((*option).optlen), 16);
        } else {
            if to.add(7) > limit {
                return;
            }
            write_volatile(to, AF_INET6 | port);
            write_volatile(to.add(1), 0);
            write_volatile(to.add(2), end.words[0]);
            write_volatile(to.add(3), end.words[1]);
            write_volatile(to.add(4), end.words[2]);
            write_volatile(to.add(5), end.words[3]);
            write_volatile(to.add(6), 0);
            write_volatile(addr_of_mut!((*option).optlen), 28);
        }
        write_volatile(addr_of_mut!((*option).retval), 0);
    }
}

/// The first two bytes of both structures are the family, the next two the port; as one word it is
/// that of a machine whose lowest byte comes first, for which alone the object is made.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const ALLOW: i32 = 1;
/// The least that one has.
const PAGE: i32 = 4096;
const ORIGINAL_DST: i32 = 80;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const TCP: u32 = 6;
