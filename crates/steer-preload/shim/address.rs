//! Socket addresses, as C has them.

use core::ffi::c_int;
use core::ptr;

use crate::sys;
use crate::wire::Address;

pub const AF_UNIX: c_int = 1;
pub const AF_INET: c_int = 2;
pub const AF_INET6: c_int = 10;
pub const AF_NETLINK: c_int = 16;
pub const AF_ALG: c_int = 38;

/// The length of an IPv4 socket address.
const LENGTH_V4: usize = 16;
/// The length of an IPv6 socket address, and what the kernel takes without the scope.
const LENGTH_V6: usize = 28;
const LENGTH_V6_OLD: usize = 24;

/// The IP address in a socket address; `None` where there is none, or no memory to read.
///
/// # Safety
/// As for connect(2): so many bytes are there.
pub unsafe fn read(address: *const u8, length: u32) -> Option<Address> {
    let length = length as usize;
    if length < LENGTH_V4 {
        return None;
    }
    let mut bytes = [0; LENGTH_V6];
    let length = length.min(LENGTH_V6);
    // The kernel has a word for it.
    if !sys::is_readable(address, length) {
        return None;
    }
    // SAFETY: no more than the caller has, and than there is room for. One copy: another thread
    // cannot change what was looked at.
    unsafe { ptr::copy_nonoverlapping(address, bytes.as_mut_ptr(), length) };
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let mut ip = [0; 16];
    match c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        AF_INET => {
            ip[..4].copy_from_slice(&bytes[4..8]);
            Some(Address {
                version: 4,
                port,
                scope: 0,
                ip,
            })
        }
        AF_INET6 if length >= LENGTH_V6_OLD => {
            ip.copy_from_slice(&bytes[8..24]);
            Some(Address {
                version: 6,
                port,
                scope: u32::from_ne_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]),
                ip,
            })
        }
        _ => None,
    }
}

/// The IP address in a socket address that something is sent to from a socket of a family: the
/// kernel takes one without a family for IPv4 on an IPv4 socket (`udp_sendmsg` of net/ipv4/udp.c),
/// and for no address on others.
///
/// # Safety
/// As for sendto(2): so many bytes are there.
pub unsafe fn sent(address: *const u8, length: u32, domain: c_int) -> Option<Address> {
    // SAFETY: as the caller says.
    if domain != AF_INET || !unsafe { is_none(address, length) } {
        // SAFETY: as the caller says.
        return unsafe { read(address, length) };
    }
    let mut bytes = [0; LENGTH_V4];
    if (length as usize) < LENGTH_V4 || !sys::is_readable(address, LENGTH_V4) {
        return None;
    }
    // SAFETY: no more than is there, and than there is room for.
    unsafe { ptr::copy_nonoverlapping(address, bytes.as_mut_ptr(), LENGTH_V4) };
    let [a, b] = (AF_INET as u16).to_ne_bytes();
    bytes[..2].copy_from_slice(&[a, b]);
    // SAFETY: it is ours.
    unsafe { read(bytes.as_ptr(), LENGTH_V4 as u32) }
}

/// Whether a socket address is none: connect(2) disconnects by it.
///
/// # Safety
/// As for connect(2): so many bytes are there.
pub unsafe fn is_none(address: *const u8, length: u32) -> bool {
    // SAFETY: a family is two bytes, which need not be aligned.
    let family = || unsafe { address.cast::<u16>().read_unaligned() };
    length >= 2 && sys::is_readable(address, 2) && family() == 0
}

/// An IP address as a socket address for sockets of a family; `None` where they have none such.
pub fn write(address: &Address, family: c_int) -> Option<([u8; LENGTH_V6], u32)> {
    let mut bytes = [0; LENGTH_V6];
    let [a, b] = (family as u16).to_ne_bytes();
    let [c, d] = address.port.to_be_bytes();
    bytes[..4].copy_from_slice(&[a, b, c, d]);
    match (family, address.version) {
        (AF_INET, 4) => {
            bytes[4..8].copy_from_slice(&address.ip[..4]);
            Some((bytes, LENGTH_V4 as u32))
        }
        (AF_INET, 6) => {
            let mapped = address.ip.strip_prefix(&MAPPED)?;
            bytes[4..8].copy_from_slice(mapped);
            Some((bytes, LENGTH_V4 as u32))
        }
        (AF_INET6, 4) => {
            bytes[8..20].copy_from_slice(&MAPPED);
            bytes[20..24].copy_from_slice(&address.ip[..4]);
            Some((bytes, LENGTH_V6 as u32))
        }
        (AF_INET6, 6) => {
            bytes[8..24].copy_from_slice(&address.ip);
            bytes[24..28].copy_from_slice(&address.scope.to_ne_bytes());
            Some((bytes, LENGTH_V6 as u32))
        }
        _ => None,
    }
}

/// Whether what is sent there stays in this host's loopback: 127.0.0.0/8, ::1, and the unspecified
/// addresses, which mean the same to the kernel.
pub fn is_loopback(address: &Address) -> bool {
    let v4 = match address.version {
        4 => address.ip.get(..4),
        _ => address.ip.strip_prefix(&MAPPED),
    };
    match v4 {
        Some([127, ..] | [0, 0, 0, 0]) => true,
        Some(_) => false,
        None => matches!(
            address.ip,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 | 1]
        ),
    }
}

/// What goes before an IPv4 address in IPv6 (::ffff:0:0/96).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
