//! Headers against themselves, against hand-made bytes and against the `ppp` crate.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::steered::Identity;

fn origins() -> Vec<Origin> {
    let addresses = [
        ("192.0.2.1:4711", "198.51.100.7:443"),
        ("[2001:db8::1]:4711", "[2001:db8::2]:443"),
    ];
    let ip = |protocol| {
        addresses.map(|(client, destination)| Origin::Ip {
            protocol,
            client: client.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    };
    Protocol::ALL.into_iter().flat_map(ip).collect()
}

fn header(origin: Origin) -> Header {
    let tlvs = Vec::new();
    Header { origin, tlvs }
}

#[test]
fn what_is_written_is_read_again() {
    let own = [
        Origin::Local,
        Origin::Unknown,
        Origin::Unix {
            client: Vec::new(),
            destination: b"\0abstract".to_vec(),
        },
    ];
    for origin in origins().into_iter().chain(own) {
        let mut header = header(origin);
        header.tlvs = Tlv::of(&Identity {
            pid: Some(7),
            uid: Some(1000),
            gid: Some(100),
            exe: Some(PathBuf::from("/usr/bin/curl")),
            cgroup: Some("/app.slice".to_owned()),
            ..Identity::default()
        });
        header.tlvs.push(Tlv::alpn(b"h2"));
        header.tlvs.push(Tlv::authority("api.example.com"));
        header.tlvs.push(Tlv::unique_id(b"\x01\x02"));
        header.tlvs.push(Tlv::netns("blue"));
        let bytes = header.encode(Version::V2).unwrap();
        let (read, length) = parse(&bytes).unwrap().unwrap();
        assert_eq!((&read, length), (&header, bytes.len()));
        let who = read.who();
        assert_eq!(
            (who.pid, who.uid, who.gid),
            (Some(7), Some(1000), Some(100))
        );
        assert_eq!(who.exe, Some(PathBuf::from("/usr/bin/curl")));
        assert_eq!(who.cgroup.as_deref(), Some("/app.slice"));
        assert_eq!(read.alpn(), Some(&b"h2"[..]));
        assert_eq!(read.authority(), Some("api.example.com"));
        assert_eq!(read.unique_id(), Some(&b"\x01\x02"[..]));
        assert_eq!(read.netns(), Some("blue"));
    }
}

#[test]
fn the_ppp_crate_reads_what_is_written() {
    for origin in origins() {
        let header = header(origin);
        let Origin::Ip {
            protocol,
            client,
            destination,
        } = &header.origin
        else {
            unreachable!("all are over IP");
        };
        let bytes = header.encode(Version::V2).unwrap();
        let read = ppp::v2::Header::try_from(bytes.as_slice()).unwrap();
        let told = match read.addresses {
            ppp::v2::Addresses::IPv4(told) => (
                SocketAddr::from((told.source_address, told.source_port)),
                SocketAddr::from((told.destination_address, told.destination_port)),
            ),
            ppp::v2::Addresses::IPv6(told) => (
                SocketAddr::from((told.source_address, told.source_port)),
                SocketAddr::from((told.destination_address, told.destination_port)),
            ),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, (*client, *destination));
        let transport = match protocol {
            Protocol::Tcp => ppp::v2::Protocol::Stream,
            Protocol::Udp => ppp::v2::Protocol::Datagram,
        };
        assert_eq!(read.protocol, transport);
        let kinds: Vec<_> = read.tlvs().map(|tlv| tlv.unwrap().kind).collect();
        assert_eq!(kinds, [ppp::v2::Type::CRC32C as u8]);

        let line = header.encode(Version::V1).unwrap();
        let read = ppp::v1::Header::try_from(line.as_slice()).unwrap();
        let told = match read.addresses {
            ppp::v1::Addresses::Tcp4(told) => Some((
                SocketAddr::from((told.source_address, told.source_port)),
                SocketAddr::from((told.destination_address, told.destination_port)),
            )),
            ppp::v1::Addresses::Tcp6(told) => Some((
                SocketAddr::from((told.source_address, told.source_port)),
                SocketAddr::from((told.destination_address, told.destination_port)),
            )),
            ppp::v1::Addresses::Unknown => None,
        };
        let known = (*protocol == Protocol::Tcp).then_some((*client, *destination));
        assert_eq!(told, known);
    }
}

#[test]
fn what_the_ppp_crate_writes_is_read() {
    use ppp::v2::{Builder, Command, Type, Version as Two};
    let addresses: (SocketAddr, SocketAddr) = (
        "192.0.2.1:4711".parse().unwrap(),
        "198.51.100.7:443".parse().unwrap(),
    );
    let transport = ppp::v2::Protocol::Stream;
    let bytes = Builder::with_addresses(Two::Two | Command::Proxy, transport, addresses)
        .write_tlv(Type::NoOp, b"padding")
        .unwrap()
        .write_tlv(Type::Authority, b"api.example.com")
        .unwrap()
        .build()
        .unwrap();
    let (read, length) = parse(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(read.client(), Some(addresses.0));
    assert_eq!(read.destination(), Some(addresses.1));
    assert_eq!(read.tlvs, [Tlv::authority("api.example.com")]);
    let mut untyped = Vec::new();
    Tlv::new(0xe0, [0; 8]).write(&mut untyped).unwrap();
    assert_eq!(
        header_of(&untyped).who().uid,
        None,
        "eight bytes are no user id"
    );
}

fn header_of(tlvs: &[u8]) -> Header {
    let tlvs = tlv::read(tlvs).unwrap();
    Header {
        origin: Origin::Unknown,
        tlvs: tlvs.into_iter().map(|(_, tlv)| tlv).collect(),
    }
}

#[test]
fn addresses_of_two_families_are_written_as_ipv6() {
    let header = Header::proxied(
        Protocol::Tcp,
        "[::ffff:192.0.2.1]:1".parse().unwrap(),
        "[2001:db8::1]:443".parse().unwrap(),
    );
    let line = header.encode(Version::V1).unwrap();
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 443\r\n");
    for version in Version::ALL {
        let bytes = header.encode(version).unwrap();
        let (read, _) = parse(&bytes).unwrap().unwrap();
        assert_eq!(read, header);
    }
}

#[test]
fn a_header_asks_for_more_until_it_is_whole() {
    for origin in origins() {
        for version in Version::ALL {
            let bytes = header(origin.clone()).encode(version).unwrap();
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length]), Ok(None), "{version:?} {length}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_found_by_the_checksum() {
    let bytes = header(origins()[0].clone()).encode(Version::V2).unwrap();
    for at in 16..28 {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        assert_eq!(parse(&bytes), Err(HeaderError::Checksum), "byte {at}");
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
    let lines: [(&[u8], HeaderError); 8] = [
        (b"GET / HTTP/1.1\r\n", HeaderError::Absent),
        (b"\r\n\r\n\0\r\nQUIX\n", HeaderError::Absent),
        (long.as_bytes(), HeaderError::Endless),
        (
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            HeaderError::Line("the protocol is none of the three"),
        ),
        (
            b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            HeaderError::Line("an address is none of its family"),
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            HeaderError::Line("a port is no number up to 65535"),
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
            HeaderError::Line("a port is no number up to 65535"),
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            HeaderError::Line("it has more than six words"),
        ),
    ];
    for (bytes, error) in lines {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(parse(bytes), Err(error), "{text}");
    }
}

#[test]
fn a_malformed_binary_header_is_refused() {
    let with = |command, family, body: &[u8]| {
        let mut bytes = binary::SIGNATURE.to_vec();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        bytes.extend([command, family, length[0], length[1]]);
        bytes.extend(body);
        parse(&bytes)
    };
    for (command, family, body) in [
        (0x11, 0x11, &[0; 12][..]),
        (0x22, 0x11, &[0; 12][..]),
        (0x21, 0x41, &[0; 12][..]),
        (0x21, 0x13, &[0; 12][..]),
        (0x21, 0x11, &[0; 11][..]),
        (0x21, 0x21, &[0; 35][..]),
        (0x21, 0x31, &[0; 215][..]),
        (0x21, 0x11, &[0; 13][..]),
        (0x21, 0x00, &[0x02, 0, 9, 1][..]),
        (0x21, 0x00, &[0x03, 0, 3, 1, 2, 3][..]),
    ] {
        let read = with(command, family, body);
        assert!(
            matches!(read, Err(HeaderError::Binary(_))),
            "{command:x} {family:x} {read:?}"
        );
    }
    let own = with(0x20, 0x11, &[]).unwrap().unwrap();
    assert_eq!(own.0, Header::local());
}

#[test]
fn what_has_no_room_is_refused() {
    let mut header = Header::local();
    header.tlvs = vec![Tlv::new(0xe5, vec![0; 40_000]); 2];
    assert_eq!(header.encode(Version::V2), Err(HeaderError::TooLong));
    header.tlvs = vec![Tlv::new(0xe5, vec![0; 70_000])];
    assert_eq!(header.encode(Version::V2), Err(HeaderError::TooLong));
}

proptest! {
    #[test]
    fn no_bytes_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..3_u8) {
        let signature: &[u8] = match version {
            0 => b"",
            1 => text::SIGNATURE,
            _ => binary::SIGNATURE,
        };
        let bytes = [signature, &bytes].concat();
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
