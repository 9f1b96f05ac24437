//! The header before each datagram between client and relay (RFC 1928, section 7).

use std::net::{IpAddr, SocketAddr};

use steer_core::address::Destination;

/// Where a client's datagram goes, exactly as the client wrote it: answers carry the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// An address, a v4-mapped one as it is.
    Addr(SocketAddr),
    /// A name, or what stood in a name's place, that is a destination.
    Name {
        /// At most 255 bytes.
        written: Box<[u8]>,
        port: u16,
    },
}

impl Target {
    /// Reads a header, and what follows it; `None` where there is none, the datagram is a fragment,
    /// or no host could be meant.
    ///
    /// Fragments are optional in the protocol, and a relay that does not put them together has to
    /// drop them.
    pub(super) fn parse(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let [0, 0, WHOLE, kind, rest @ ..] = datagram else {
            return None;
        };
        let (host, rest) = match *kind {
            V4 => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                (Host::Ip(IpAddr::from(*ip)), rest)
            }
            V6 => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                (Host::Ip(IpAddr::from(*ip)), rest)
            }
            NAME => {
                let (length, rest) = rest.split_first()?;
                let (written, rest) = rest.split_at_checked(usize::from(*length))?;
                (Host::Name(written), rest)
            }
            _ => return None,
        };
        let (port, payload) = rest.split_first_chunk()?;
        let port = u16::from_be_bytes(*port);
        if port == 0 {
            return None;
        }
        let target = match host {
            Host::Ip(ip) => Self::Addr(SocketAddr::new(ip, port)),
            Host::Name(written) => {
                named(written, port)?;
                let written = written.into();
                Self::Name { written, port }
            }
        };
        Some((target, payload))
    }

    /// The header of a datagram that comes from there.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = vec![0, 0, WHOLE];
        let port = match self {
            Self::Addr(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        header.push(V4);
                        header.extend(ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        header.push(V6);
                        header.extend(ip.octets());
                    }
                }
                address.port()
            }
            Self::Name { written, port } => {
                header.push(NAME);
                header.push(u8::try_from(written.len()).expect("a byte counted it"));
                header.extend(written);
                *port
            }
        };
        header.extend(port.to_be_bytes());
        header
    }

    /// The same as a destination.
    pub(super) fn destination(&self) -> Destination {
        match self {
            Self::Addr(address) => Destination::addr(*address),
            Self::Name { written, port } => {
                named(written, *port).expect("it was one when it was read")
            }
        }
    }
}

enum Host<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

fn named(written: &[u8], port: u16) -> Option<Destination> {
    let name = std::str::from_utf8(written).ok()?;
    Destination::parse_host(name, port).ok()
}

/// The fragment number of a datagram that is whole.
const WHOLE: u8 = 0;
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_target_is_read_and_written_as_it_was() {
        for (header, expected) in [
            (&b"\x01\xcb\x00\x71\x07\x01\xbb"[..], "203.0.113.7:443"),
            (b"\x03\x0bExample.com\x00\x35", "example.com:53"),
            (b"\x03\x09192.0.2.1\x00\x35", "192.0.2.1:53"),
            (
                b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x35",
                "[2001:db8::1]:53",
            ),
            (
                b"\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x00\x35",
                "127.0.0.1:53",
            ),
        ] {
            let header = [b"\0\0\0", header].concat();
            for payload in [&b""[..], b"payload"] {
                let datagram = [&header, payload].concat();
                let (target, rest) = Target::parse(&datagram).unwrap();
                assert_eq!(target.destination().to_string(), expected);
                assert_eq!(target.header(), header, "{expected}");
                assert_eq!(rest, payload);
            }
        }
    }

    #[test]
    fn what_is_no_whole_datagram_to_a_host_is_dropped() {
        for datagram in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\x01\x7f\0\0\x01\x00",
            b"\0\0\0\x01\x7f\0\0\x01\x00\x00",
            b"\0\0\x01\x01\x7f\0\0\x01\x00\x35first fragment",
            b"\0\0\x81\x01\x7f\0\0\x01\x00\x35last fragment",
            b"\0\x01\0\x01\x7f\0\0\x01\x00\x35",
            b"\0\0\0\x02\x7f\0\0\x01\x00\x35",
            b"\0\0\0\x03\x00\x00\x35",
            b"\0\0\0\x03\x05ab\x00\x35",
            b"\0\0\0\x03\x04a b.\x00\x35",
            b"\0\0\0\x03\x02\xff\xfe\x00\x35",
            b"\0\0\0\x04\x7f\0\0\x01\x00\x35",
        ] {
            assert_eq!(Target::parse(datagram), None, "{datagram:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same_and_no_bytes_panic(
            kind in prop::sample::select(vec![V4, NAME, V6, 0]),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let datagram = [&[0, 0, 0, kind], &bytes[..]].concat();
            if let Some((target, payload)) = Target::parse(&datagram) {
                prop_assert!(target.destination().port() > 0);
                prop_assert_eq!([&target.header(), payload].concat(), datagram);
            }
        }
    }
}
