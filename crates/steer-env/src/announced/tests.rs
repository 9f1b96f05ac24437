use proptest::prelude::*;
use steer_core::proxy_protocol::{Tlv, Version};

use super::*;
use crate::pieces::{Pieces, now};

/// Whose a connection from a trusted sender is, and what is left of its bytes.
fn run(bytes: &[u8], cuts: &[usize]) -> (Option<Announced>, Vec<u8>) {
    let mut stream = Pieces::new(bytes, cuts);
    let all = ["0.0.0.0/0".parse().unwrap()];
    let whose = now(announced(&mut stream, sender(), &all)).ok();
    (whose, stream.rest())
}

fn sender() -> ClientAddr {
    ClientAddr("192.0.2.1:4711".parse().unwrap())
}

fn proxied(client: &str) -> Header {
    let destination = "198.51.100.7:443".parse().unwrap();
    Header::proxied(Protocol::Tcp, client.parse().unwrap(), destination)
}

#[test]
fn a_client_is_told_in_both_versions_and_nothing_behind_the_header_is_taken() {
    for client in ["203.0.113.7:4711", "[2001:db8::7]:4711"] {
        for version in Version::ALL {
            let mut header = proxied(client);
            header.tlvs.push(Tlv::authority("api.example.com"));
            let bytes = header.encode(version).unwrap();
            let (whose, rest) = run(&[&bytes[..], b"\x05\x01"].concat(), &[]);
            let told = Announced::Client(Some(client.parse().unwrap()));
            assert_eq!(whose, Some(told), "{version:?}");
            assert_eq!(rest, b"\x05\x01");
        }
    }
}

#[test]
fn a_sender_may_speak_for_itself_or_not_know_for_whom() {
    let datagrams = Header::proxied(Protocol::Udp, sender().0, sender().0);
    let header = |origin| Header {
        origin,
        tlvs: Vec::new(),
    };
    for (header, expected) in [
        (Header::local(), Announced::Sender),
        (header(Origin::Unknown), Announced::Client(None)),
        (datagrams, Announced::Client(None)),
    ] {
        let bytes = header.encode(Version::V2).unwrap();
        assert_eq!(run(&bytes, &[]).0, Some(expected));
    }
    let unknown = b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET";
    assert_eq!(
        run(unknown, &[]),
        (Some(Announced::Client(None)), b"GET".to_vec())
    );
}

#[test]
fn what_is_no_header_or_a_false_one_is_refused() {
    let whole = proxied("203.0.113.7:4711").encode(Version::V2).unwrap();
    let mut false_sum = whole.clone();
    *false_sum.last_mut().unwrap() ^= 1;
    let mut endless = whole[..16].to_vec();
    endless[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    endless.resize(70_000, 0);
    let long_line = [&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat();
    for bytes in [
        &b""[..],
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.7",
        b"PROXY TCP4 203.0.113.7 198.51.100.7 99999 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
        &long_line,
        &whole[..20],
        &false_sum,
        &endless,
    ] {
        assert_eq!(run(bytes, &[]).0, None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn nobody_else_is_asked_for_a_header_nor_believed() {
    let bytes = proxied("203.0.113.7:4711").encode(Version::V1).unwrap();
    for senders in [&[][..], &["198.51.100.0/24".parse().unwrap()]] {
        let mut stream = Pieces::new(&bytes, &[]);
        let whose = now(announced(&mut stream, sender(), senders));
        assert_eq!(whose.unwrap(), Announced::Sender);
        assert_eq!(stream.rest(), bytes);
    }
    // As a socket of both families shows it.
    let mapped = ClientAddr("[::ffff:192.0.2.1]:1".parse().unwrap());
    let senders = ["192.0.2.0/24".parse().unwrap()];
    let whose = now(announced(&mut Pieces::new(&bytes, &[]), mapped, &senders));
    assert!(matches!(whose, Ok(Announced::Client(Some(_)))));
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        name in "[a-z.]{0,900}",
        spoilt in proptest::option::of((0_usize..200, any::<u8>())),
        cuts in proptest::collection::btree_set(0_usize..1000, 0..20),
    ) {
        let mut header = proxied("203.0.113.7:4711");
        header.tlvs.push(Tlv::authority(&name));
        let mut bytes = header.encode(version).unwrap();
        bytes.extend(b"tail");
        if let Some((at, byte)) = spoilt {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let cuts: Vec<_> = cuts.into_iter().collect();
        let (whole, rest) = run(&bytes, &[]);
        let (cut, cut_rest) = run(&bytes, &cuts);
        prop_assert_eq!(whole, cut);
        if whole.is_some() {
            prop_assert_eq!(rest, cut_rest);
        }
    }
}
