//! A packet on its way out, where a socket's own options can no longer change where it goes
//! (IP_PKTINFO, IP_UNICAST_IF and the like win over the route of a token).

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::abi::{COUNT_REFUSED, KEY_UDP, TokenKey};
use crate::end::{End, address, words};
use crate::maps::count;
use crate::token;

/// Keeps what goes to a token on this host, and notes from where its socket sends there: before the
/// listener gets it, so that nobody else is taken for that socket, also once it is gone.
#[cgroup_skb(egress)]
pub fn keep_in(context: SkBuffContext) -> i32 {
    let packet = context.skb.skb;
    // SAFETY: the kernel's context.
    let (protocol, interface) = unsafe { ((*packet).protocol, (*packet).ifindex) };
    let is_v4 = match protocol {
        IPV4 => true,
        IPV6 => false,
        _ => return ALLOW,
    };
    let to = end(&context, is_v4, if is_v4 { 16 } else { 24 });
    let Some(key) = to.and_then(|to| to.token(KEY_UDP)) else {
        return ALLOW;
    };
    if interface != LOOPBACK {
        count(COUNT_REFUSED);
        return DROP;
    }
    let _ = note(&context, is_v4, key);
    ALLOW
}

/// Writes the source of a datagram into its token. That of the latest one, as a socket may change
/// its port when it is disconnected.
#[inline(always)]
fn note(context: &SkBuffContext, is_v4: bool, key: TokenKey) -> Option<()> {
    let next: u8 = context.load(if is_v4 { 9 } else { 6 }).ok()?;
    if next != UDP {
        return None;
    }
    let header = if is_v4 {
        let first: u8 = context.load(0).ok()?;
        usize::from(first & 0xf) * 4
    } else {
        40
    };
    let port = u16::from_be(context.load(header).ok()?);
    let from = end(context, is_v4, if is_v4 { 12 } else { 8 })?;
    let source = address(from.words);
    // SAFETY: the kernel's context.
    let cookie = unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) };
    token::change(key, cookie, |token| {
        let is_news = token.source_port != port || words(token.source) != from.words;
        token.source = source;
        token.source_port = port;
        is_news
    });
    Some(())
}

/// The address at an offset of a packet.
#[inline(always)]
fn end(context: &SkBuffContext, is_v4: bool, offset: usize) -> Option<End> {
    if is_v4 {
        return Some(End::v4(context.load(offset).ok()?, 0));
    }
    let words = context.load(offset).ok()?;
    Some(End { words, port: 0 })
}

/// The number of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;
const UDP: u8 = 17;
const ALLOW: i32 = 1;
const DROP: i32 = 0;
