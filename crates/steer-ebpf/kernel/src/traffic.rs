//! What is meant: destinations.

use aya_ebpf::maps::lpm_trie::Key;

use crate::abi::{
    Config, DO_DNS_TCP, DO_DNS_UDP, DO_LEAVE_DNS, DO_LEAVE_QUIC, DO_LEAVE_TCP, DO_LEAVE_UDP,
    DO_LOOPBACK, DO_NETS, DO_OTHERS, DO_REFUSE_QUIC, DO_TCP, DO_UDP, GENERATIONS, NET_LEFT,
    NET_MEANT, NetKey, PORT_WORDS,
};
use crate::call::Protocol;
use crate::end::End;
use crate::maps::{NETS, PORTS};

/// What a destination is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Not meant.
    Left,
    /// Meant, and can be taken.
    Meant,
    /// DNS that goes to a listener of its own.
    Dns,
    /// Meant, and never taken nor left.
    Refused,
    /// Meant, and cannot be taken.
    Untakeable,
}

/// What a destination is by the configuration of a generation, of which `nets` are the networks that
/// it is in.
///
/// What is excluded comes first, DNS before what is this host's own: a resolver on the loopback
/// network is asked like any other.
#[inline(always)]
pub fn of(config: &Config, generation: u32, protocol: Protocol, to: End, nets: u32) -> Traffic {
    let says = |flag: u32| config.flags & flag != 0;
    if nets & NET_LEFT != 0 {
        return Traffic::Left;
    }
    let (takeable, is_left, is_dns) = match protocol {
        Protocol::Tcp => (says(DO_TCP), says(DO_LEAVE_TCP), says(DO_DNS_TCP)),
        Protocol::Udp => (says(DO_UDP), says(DO_LEAVE_UDP), says(DO_DNS_UDP)),
        Protocol::Other => (false, !says(DO_OTHERS), false),
    };
    if to.port == 53 && protocol != Protocol::Other {
        if says(DO_LEAVE_DNS) {
            return Traffic::Left;
        }
        if is_dns {
            return Traffic::Dns;
        }
    }
    if is_left {
        return Traffic::Left;
    }
    let is_quic = to.port == 443 && protocol == Protocol::Udp;
    if is_quic && says(DO_LEAVE_QUIC) {
        return Traffic::Left;
    }
    if to.is_loopback() && !says(DO_LOOPBACK) {
        return Traffic::Left;
    }
    // Other protocols have no ports.
    if protocol != Protocol::Other && !port_is_meant(generation, to.port) {
        return Traffic::Left;
    }
    if says(DO_NETS) && nets & NET_MEANT == 0 {
        return Traffic::Left;
    }
    if is_quic && says(DO_REFUSE_QUIC) {
        return Traffic::Refused;
    }
    if takeable && !to.is_many() {
        Traffic::Meant
    } else {
        Traffic::Untakeable
    }
}

#[inline(always)]
fn port_is_meant(generation: u32, port: u16) -> bool {
    let (word, bit) = port_bit(generation, port);
    PORTS.get(word).is_some_and(|word| word >> bit & 1 != 0)
}

/// Where a port is in a set of ports.
#[inline(always)]
pub fn port_bit(generation: u32, port: u16) -> (u32, u32) {
    let port = u32::from(port);
    let word = generation % GENERATIONS * PORT_WORDS + port / 64;
    (word, port % 64)
}

/// What the networks say of an address.
#[inline(always)]
pub fn nets(generation: u32, to: End) -> u32 {
    NETS.get(net_key(generation, to)).copied().unwrap_or(0)
}

/// The key of an address in a trie of networks.
#[inline(always)]
pub fn net_key(generation: u32, end: End) -> Key<NetKey> {
    let data = NetKey {
        generation: generation.to_be_bytes(),
        address: end.address(),
    };
    Key::new((size_of::<NetKey>() * 8) as u32, data)
}
