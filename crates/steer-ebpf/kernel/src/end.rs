//! An end of a connection: an address of either family and a port.

use crate::abi::{Address, KEY_UDP, KEY_V6, TOKEN_BITS_V4, TOKEN_LAST, TOKEN_NET_V4, TOKEN_NET_V6, TokenKey};

/// An address of either family, IPv4 mapped, as four words in the order of the network: so the
/// kernel hands them out, and so they are compared without touching single bytes.
pub type Words = [u32; 4];

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub words: Words,
    pub port: u16,
}

/// The third word of a mapped address of IPv4.
pub const MAPPED: u32 = 0xffff_u32.to_be();

impl End {
    /// One of IPv4.
    #[inline(always)]
    pub fn v4(word: u32, port: u16) -> Self {
        let words = [0, 0, MAPPED, word];
        Self { words, port }
    }

    /// The address byte by byte.
    #[inline(always)]
    pub fn address(self) -> Address {
        address(self.words)
    }

    /// Whether the address is of IPv4.
    #[inline(always)]
    pub fn is_v4(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether it never leaves the machine, or stands for addresses that do not
    /// (`connect` to an unspecified address goes to this host).
    #[inline(always)]
    pub fn is_loopback(self) -> bool {
        let [_, _, third, last] = self.words;
        if self.is_v4() {
            return u32::from_be(last) >> 24 == 127 || last == 0;
        }
        self.words[0] == 0 && self.words[1] == 0 && third == 0 && u32::from_be(last) <= 1
    }

    /// Whether it stands for many hosts, or (link-local addresses of IPv6) for one only together
    /// with an interface, which an engine elsewhere cannot know.
    #[inline(always)]
    pub fn is_many(self) -> bool {
        if self.is_v4() {
            let ip = u32::from_be(self.words[3]);
            return ip >> 28 == 0xe || ip == u32::MAX;
        }
        let top = u32::from_be(self.words[0]);
        top >> 24 == 0xff || top >> 22 == 0xfe80 >> 6
    }

    /// The token whose address this is.
    #[inline(always)]
    pub fn token(self, protocol: u64) -> Option<TokenKey> {
        let [first, second, third, last] = self.words;
        let last = u32::from_be(last);
        if self.is_v4() {
            let number = last & NUMBER;
            return (last & !NUMBER == TOKEN_NET_V4 && number != 0 && number <= TOKEN_LAST)
                .then_some(protocol | u64::from(number));
        }
        let [upper, lower] = net_v6();
        let is_token =
            first == upper && second == lower && third == 0 && last != 0 && last <= TOKEN_LAST;
        is_token.then_some(protocol | KEY_V6 | u64::from(last))
    }

    /// The end of a token's address that goes to a port.
    #[inline(always)]
    pub fn of_token(key: TokenKey, port: u16) -> Self {
        let number = key as u32 & NUMBER;
        if key & KEY_V6 == 0 {
            return Self::v4((TOKEN_NET_V4 | number).to_be(), port);
        }
        let [first, second] = net_v6();
        let words = [first, second, 0, number.to_be()];
        Self { words, port }
    }
}

/// An address byte by byte.
#[inline(always)]
pub fn address(words: Words) -> Address {
    // SAFETY: both are sixteen bytes without padding, of which every pattern is a value.
    unsafe { core::mem::transmute(words) }
}

/// An address word by word.
#[inline(always)]
pub fn words(address: Address) -> Words {
    // SAFETY: as above.
    unsafe { core::mem::transmute(address) }
}

/// The network of the tokens of IPv6 in words.
#[inline(always)]
const fn net_v6() -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = TOKEN_NET_V6;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

/// The protocol's part of a token's key.
#[inline(always)]
pub const fn protocol_key(is_udp: bool) -> u64 {
    if is_udp { KEY_UDP } else { 0 }
}

/// The bits of a token's number.
pub const NUMBER: u32 = (1 << TOKEN_BITS_V4) - 1;
