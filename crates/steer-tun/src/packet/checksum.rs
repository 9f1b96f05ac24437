//! The Internet checksum (RFC 1071), and how it changes with what it covers (RFC 1624).

use std::net::IpAddr;

/// The sum of some bytes, not yet folded; an odd last byte is followed by a zero.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total: u128 = 0;
    for word in words {
        total += u128::from(u64::from_be_bytes(*word));
    }
    // Of four words of 16 bits each; 2^16 is 1 here.
    let mut folded = fold_wide(total);
    let mut rest = rest.chunks_exact(2);
    for pair in &mut rest {
        folded += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = rest.remainder() {
        folded += u64::from(u16::from_be_bytes([*last, 0]));
    }
    folded
}

/// Folds a sum into 16 bits.
#[must_use]
pub const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of a pseudo header (RFC 9293, RFC 8200).
#[must_use]
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    address(source) + address(destination) + u64::from(protocol) + length as u64
}

/// The sum of an address.
#[must_use]
pub fn address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    }
}

/// A checksum field after what it covers changed from one sum to another.
#[must_use]
pub fn updated(field: u16, from: u64, to: u64) -> u16 {
    !fold(u64::from(!field) + u64::from(!fold(from)) + to)
}

/// A field that holds a sum itself, and not its complement, after the same change.
#[must_use]
pub fn updated_sum(field: u16, from: u64, to: u64) -> u16 {
    fold(u64::from(field) + u64::from(!fold(from)) + to)
}

const fn fold_wide(mut sum: u128) -> u64 {
    while sum > 0xffff_ffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u64
}
