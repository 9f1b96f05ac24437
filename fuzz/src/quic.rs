//! The first datagrams of a QUIC connection.

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use steer_core::policy::App;
use steer_proxy::sniff::{Sniffer, Verdict};

/// Looks at datagrams to the port of HTTP/3.
///
/// An input is a list of records: a byte, and a length of two. An even byte makes a datagram of the
/// bytes as they are; an odd one seals them as the payload of an Initial, as no input could by
/// itself, with a version, a packet number and a place for a spoilt byte that the byte chooses.
///
/// # Panics
/// Where a verdict changes, is never reached, or is another one in a second run.
pub fn quic(data: &[u8]) {
    let datagrams = datagrams(data);
    let verdict = push(&datagrams);
    assert_eq!(verdict, push(&datagrams));
}

fn push(datagrams: &[Vec<u8>]) -> Verdict {
    let mut sniffer = Sniffer::datagrams(443);
    for (index, datagram) in datagrams.iter().enumerate() {
        let before = sniffer.verdict().clone();
        sniffer.push(datagram);
        assert!(!before.is_decided() || before == *sniffer.verdict());
        assert!(sniffer.verdict().is_decided() || index < 16, "no end");
    }
    let concluded = sniffer.conclude();
    assert!(matches!(concluded.app, App::Quic | App::Opaque));
    sniffer.verdict().clone()
}

fn datagrams(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    while let [how, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        datagrams.push(match how & 1 {
            0 => bytes.to_vec(),
            _ => initial(
                *how,
                u8::try_from(datagrams.len()).unwrap_or(u8::MAX),
                bytes,
            ),
        });
        data = rest;
    }
    datagrams
}

/// An Initial of a client with this payload (RFC 9000, section 17.2.2; RFC 9001, section 5).
fn initial(how: u8, number: u8, payload: &[u8]) -> Vec<u8> {
    let (version, first, wire) = match how & 2 {
        0 => (Version::V1, 0xc0, [0, 0, 0, 1]),
        _ => (Version::V2, 0xd0, [0x6b, 0x33, 0x43, 0xcf]),
    };
    // What the header protection takes its sample of has to be there.
    let mut payload = payload.to_vec();
    payload.resize(payload.len().max(4), 0);
    let suite = TLS13_AES_128_GCM_SHA256
        .tls13()
        .expect("it is one of TLS 1.3");
    let algorithm = suite.quic.expect("it is one of QUIC");
    let keys = Keys::initial(version, suite, algorithm, ID, Side::Client);
    let length = 1 + payload.len() + keys.local.packet.tag_len();
    let length = u16::try_from(length).unwrap_or(0x3fff).min(0x3fff) | 0x4000;
    let mut header = [&[first], &wire[..], &[8], ID, &[0, 0]].concat();
    header.extend(length.to_be_bytes());
    header.push(number);
    let tag = keys
        .local
        .packet
        .encrypt_in_place(number.into(), &header, &mut payload)
        .expect("a short payload");
    payload.extend(tag.as_ref());
    let at = header.len() - 1;
    let (first, rest) = header.split_at_mut(1);
    keys.local
        .header
        .encrypt_in_place(&payload[3..19], &mut first[0], &mut rest[at - 1..])
        .expect("a whole sample");
    let mut datagram = [header, payload].concat();
    if how & 4 != 0 {
        let at = usize::from(how >> 3) * 7 % datagram.len();
        datagram[at] ^= 0x20;
    }
    datagram
}

/// The destination's connection id of every Initial, by which its keys are made.
const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
