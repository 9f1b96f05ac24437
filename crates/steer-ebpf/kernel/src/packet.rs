//! A packet on its way out, where a socket's own options can no longer change where it goes
//! (IP_PKTINFO, IP_UNICAST_IF and the like win over the route of a token).

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::abi::{COUNT_REFUSED, DO_EXTERNAL, KEY_UDP, TokenKey};
use crate::end::{End, address, words};
use crate::maps::count;
use crate::{decision, listener, token};

/// Keeps what goes to a token on this host and from those who are not the engine, and notes from where its socket sends there: before the
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
    let Some(packet) = Packet::read(&context, is_v4) else {
        return ALLOW;
    };
    if !is_heard(&context, &packet) {
        count(COUNT_REFUSED);
        return DROP;
    }
    if packet.protocol == UDP {
        note(&context, key, packet.from);
    }
    ALLOW
}

/// The head of a packet with ports.
struct Packet {
    protocol: u8,
    from: End,
    to: End,
    /// Whether it is the first of a connection.
    begins: bool,
}

impl Packet {
    #[inline(always)]
    fn read(context: &SkBuffContext, is_v4: bool) -> Option<Self> {
        let protocol: u8 = context.load(if is_v4 { 9 } else { 6 }).ok()?;
        let header = if is_v4 {
            let first: u8 = context.load(0).ok()?;
            usize::from(first & 0xf) * 4
        } else {
            40
        };
        let begins = match protocol {
            UDP => false,
            TCP => {
                let flags: u8 = context.load(header + 13).ok()?;
                flags & (SYN | ACK) == SYN
            }
            _ => return None,
        };
        let (from, to) = if is_v4 { (12, 16) } else { (8, 24) };
        let end = |address, port| -> Option<End> {
            Some(End {
                port: u16::from_be(context.load(port).ok()?),
                ..end(context, is_v4, address)?
            })
        };
        Some(Self {
            protocol,
            from: end(from, header)?,
            to: end(to, header + 2)?,
            begins,
        })
    }
}

/// Whether what is sent to a token does not get to somebody who is not the engine: a socket that was
/// connected to one may send there when the engine is gone. Where nobody is, the kernel refuses.
#[inline(always)]
fn is_heard(context: &SkBuffContext, packet: &Packet) -> bool {
    if packet.protocol == TCP && !packet.begins {
        return true;
    }
    let Some((config, _)) = decision::configuration() else {
        return true;
    };
    if config.flags & DO_EXTERNAL != 0 {
        return true;
    }
    let ends = [packet.from, packet.to];
    let mark = listener::mark_between(context.skb.skb.cast(), packet.protocol == UDP, ends);
    mark.is_none_or(|mark| listener::is_own(config, mark))
}

/// Writes the source of a datagram into its token. That of the latest one, as a socket may change
/// its port when it is disconnected.
#[inline(always)]
fn note(context: &SkBuffContext, key: TokenKey, from: End) {
    let source = address(from.words);
    // SAFETY: the kernel's context.
    let cookie = unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) };
    token::change(key, cookie, |token| {
        let is_news = token.source_port != from.port || words(token.source) != from.words;
        token.source = source;
        token.source_port = from.port;
        is_news
    });
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
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const ALLOW: i32 = 1;
const DROP: i32 = 0;
