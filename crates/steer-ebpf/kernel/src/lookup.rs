//! Connections from other hosts (`sk_lookup`, Linux 5.9 and later): those that are meant are given
//! to a listener of the engine's, whatever port they are for.

use core::ffi::c_void;
use core::ptr::{NonNull, addr_of_mut, from_ref};

use aya_ebpf::bindings::bpf_sk_lookup;
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release};
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;

use crate::abi::{
    COUNT_LEFT, COUNT_REFUSED, COUNT_TAKEN, DO_CLOSED, DO_NETS, DO_TAKE, GENERATIONS, NET_LEFT,
    NET_MEANT,
};
use crate::end::End;
use crate::maps::{INBOUND, INBOUND_ACTIVE, INBOUND_NETS, INBOUND_PORTS, LISTENERS, count};
use crate::traffic::{net_key, port_bit};

#[sk_lookup]
pub fn look_up(context: SkLookupContext) -> u32 {
    let context = context.lookup;
    let Some(flags) = meant(context) else {
        return PASS;
    };
    let assigned = match flags & DO_TAKE {
        0 => None,
        _ => assign(context),
    };
    match assigned {
        Some(()) => {
            count(COUNT_TAKEN);
            PASS
        }
        None if flags & DO_CLOSED != 0 => {
            count(COUNT_REFUSED);
            DROP
        }
        None => {
            count(COUNT_LEFT);
            PASS
        }
    }
}

/// The flags of the configuration, if the connection is meant.
#[inline(always)]
fn meant(context: *mut bpf_sk_lookup) -> Option<u32> {
    // SAFETY: the kernel's context. `ingress_ifindex` is there since Linux 5.17.
    let (protocol, interface, port) = unsafe {
        (
            (*context).protocol,
            (*context).ingress_ifindex,
            (*context).local_port,
        )
    };
    // This host's own go through connect, and the engine's must reach whoever they are for.
    if protocol != TCP || interface == LOOPBACK || is_own(context) {
        return None;
    }
    let generation = *INBOUND_ACTIVE.get(0)?;
    let flags = INBOUND.get(generation % GENERATIONS)?.flags;
    if flags & (DO_TAKE | DO_CLOSED) == 0 {
        return None;
    }
    let (word, bit) = port_bit(generation, port as u16);
    if INBOUND_PORTS.get(word)? >> bit & 1 == 0 {
        return None;
    }
    let key = net_key(generation, client(context));
    let nets = INBOUND_NETS.get(key).copied().unwrap_or(0);
    let is_meant = nets & NET_LEFT == 0 && (flags & DO_NETS == 0 || nets & NET_MEANT != 0);
    is_meant.then_some(flags)
}

/// Whether it is from the very address that it is to. Over IPv4 what this host sends to an address of
/// its own bears the interface of that address (`ip_route_output_key_hash_rcu` of net/ipv4/route.c).
#[inline(always)]
fn is_own(context: *mut bpf_sk_lookup) -> bool {
    // SAFETY: the kernel's context. Word by word, as the verifier wants it.
    unsafe {
        if (*context).family == AF_INET {
            return (*context).remote_ip4 == (*context).local_ip4;
        }
        let from = addr_of_mut!((*context).remote_ip6).cast::<u32>();
        let to = addr_of_mut!((*context).local_ip6).cast::<u32>();
        from.read_volatile() == to.read_volatile()
            && from.add(1).read_volatile() == to.add(1).read_volatile()
            && from.add(2).read_volatile() == to.add(2).read_volatile()
            && from.add(3).read_volatile() == to.add(3).read_volatile()
    }
}

/// Who connects.
#[inline(always)]
fn client(context: *mut bpf_sk_lookup) -> End {
    // SAFETY: the kernel's context. Word by word, as the verifier wants it.
    unsafe {
        if (*context).family == AF_INET {
            return End::v4((*context).remote_ip4, 0);
        }
        let words = addr_of_mut!((*context).remote_ip6).cast::<u32>();
        let words = [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ];
        End { words, port: 0 }
    }
}

/// Gives the connection to the listener of its family; none where there is no such.
#[inline(always)]
fn assign(context: *mut bpf_sk_lookup) -> Option<()> {
    // SAFETY: the kernel's context.
    let index = u32::from(unsafe { (*context).family } != AF_INET);
    let map = from_ref(&LISTENERS).cast_mut().cast::<c_void>();
    // SAFETY: the key is as long as the map's; the socket is given back below.
    let socket = unsafe { bpf_map_lookup_elem(map, from_ref(&index).cast_mut().cast()) };
    let socket = NonNull::new(socket)?;
    // SAFETY: a socket that was found is held until it is given back.
    let assigned = unsafe { bpf_sk_assign(context.cast(), socket.as_ptr(), 0) };
    // SAFETY: it was found above and is not used further.
    let _ = unsafe { bpf_sk_release(socket.as_ptr()) };
    (assigned == 0).then_some(())
}

const AF_INET: u32 = 2;
const DROP: u32 = 0;
const PASS: u32 = 1;
const LOOPBACK: u32 = 1;
const TCP: u32 = 6;
