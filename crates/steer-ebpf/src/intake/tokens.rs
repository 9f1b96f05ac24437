//! Tokens: addresses that stand for the original destination.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::maps::{HashMap, MapData};
use steer_core::address::{OrigDst, Protocol, canonical};

use super::maps::{self, Maps};
use crate::abi::{
    Address, KEY_UDP, KEY_V6, TOKEN_BITS_V4, TOKEN_NET_V4, TOKEN_NET_V6, Token, TokenKey,
};

/// The tokens in force.
#[derive(Debug)]
pub(super) struct Tokens(HashMap<MapData, TokenKey, Token>);

impl Tokens {
    /// The map of the programs.
    pub(super) fn open(maps: &Maps) -> io::Result<Self> {
        let map = maps.open("TOKENS")?;
        HashMap::try_from(map).map(Self).map_err(io::Error::other)
    }

    /// What a token stands for.
    pub(super) fn get(&self, key: TokenKey) -> io::Result<Option<Token>> {
        maps::found(self.0.get(&key, 0))
    }

    /// Takes the token of a connection: it was given to whoever connects from `client`, and is
    /// used up by this.
    pub(super) fn take(&mut self, key: TokenKey, client: SocketAddr) -> io::Result<Option<Token>> {
        let token = self.get(key)?.filter(|token| is_from(token, client));
        match token {
            Some(token) => Ok(self.remove(key)?.then_some(token)),
            None => Ok(None),
        }
    }

    /// Removes a token, and tells whether it was there.
    pub(super) fn remove(&mut self, key: TokenKey) -> io::Result<bool> {
        Ok(maps::found(self.0.remove(&key))?.is_some())
    }

    /// Every key, at most so many: one that is removed meanwhile makes the kernel begin anew.
    pub(super) fn keys(&self, most: usize) -> Vec<TokenKey> {
        self.0.keys().take(most).map_while(Result::ok).collect()
    }
}

/// The key of the token that an address is of; none where it is an ordinary address.
pub(super) fn key(at: IpAddr, protocol: Protocol) -> Option<TokenKey> {
    let transport = match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => KEY_UDP,
    };
    let number = match at.to_canonical() {
        IpAddr::V4(ip) => {
            let (ip, host) = (u32::from(ip), (1 << TOKEN_BITS_V4) - 1);
            (ip & !host == TOKEN_NET_V4).then_some(u64::from(ip & host))
        }
        IpAddr::V6(ip) => {
            let ip = u128::from(ip);
            let net = u128::from(u64::from_be_bytes(TOKEN_NET_V6));
            // The lower half is all of the number.
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
            let number = ip as u64;
            let is_number = ip >> 64 == net && number & (KEY_V6 | KEY_UDP) == 0;
            is_number.then_some(number | KEY_V6)
        }
    };
    number.map(|number| number | transport)
}

/// Where the program of a token wanted to go.
pub(super) fn destination(token: &Token) -> OrigDst {
    OrigDst::new(SocketAddr::new(address(token.destination), token.port))
}

/// Whether a connection or a datagram is of the socket that its token was given to: nobody else can
/// have the client's address and port.
pub(super) fn is_from(token: &Token, client: SocketAddr) -> bool {
    let client = canonical(client);
    let known = token.source_port != 0;
    known && (address(token.source), token.source_port) == (client.ip(), client.port())
}

fn address(bytes: Address) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token of a program that asked for this destination.
    pub(in crate::intake) fn token(destination: &str, source: &str) -> Token {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let bytes = |at: SocketAddr| match at.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let (destination, source) = (parse(destination), parse(source));
        Token {
            destination: bytes(destination),
            source: bytes(source),
            cookie: 1,
            netns: 2,
            cgroup: 3,
            made: 0,
            last: 0,
            closed: 0,
            pid: 4,
            uid: 5,
            gid: 6,
            port: destination.port(),
            source_port: source.port(),
            command: *b"demo\0\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    #[test]
    fn an_address_of_the_token_networks_has_a_key_and_no_other_has() {
        let key_of = |text: &str, protocol| key(text.parse().unwrap(), protocol);
        assert_eq!(key_of("127.128.0.7", Protocol::Tcp), Some(7));
        assert_eq!(key_of("::ffff:127.255.0.0", Protocol::Tcp), Some(0x7f_0000));
        assert_eq!(key_of("127.128.1.0", Protocol::Udp), Some(0x100 | KEY_UDP));
        let v6 = key_of("fd5e:7ee2:0:f8e3::9", Protocol::Udp);
        assert_eq!(v6, Some(9 | KEY_V6 | KEY_UDP));
        for other in [
            "127.0.0.1",
            "126.128.0.1",
            "10.0.0.1",
            "::1",
            "fd5e:7ee2:0:f8e1::9",
        ] {
            assert_eq!(key_of(other, Protocol::Tcp), None, "{other}");
        }
        let beyond = "fd5e:7ee2:0:f8e3:8000::1";
        assert_eq!(key_of(beyond, Protocol::Tcp), None);
    }

    #[test]
    fn a_token_is_of_the_connection_with_the_same_source_alone() {
        let token = token("203.0.113.7:443", "127.0.0.1:40000");
        assert_eq!(destination(&token).to_string(), "203.0.113.7:443");
        let is = |client: &str| is_from(&token, client.parse().unwrap());
        assert!(is("127.0.0.1:40000") && is("[::ffff:127.0.0.1]:40000"));
        assert!(!is("127.0.0.1:40001") && !is("127.0.0.2:40000"));
        let unused = Token {
            source_port: 0,
            source: [0; 16],
            ..token
        };
        assert!(!is_from(&unused, "[::]:0".parse().unwrap()));
    }
}
