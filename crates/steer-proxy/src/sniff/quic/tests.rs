//! The hellos in `hellos` were written by aioquic 1.7.2, one datagram a line; quinn-proto writes
//! others on the spot.
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};
use rustls::RootCertStore;
use rustls::crypto::ring;
use steer_core::address::HostName;

use super::*;

fn captured(text: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let line = |line: &str| line.as_bytes().chunks(2).map(byte).collect();
    text.lines().map(line).collect()
}

fn v1() -> Vec<Vec<u8>> {
    captured(include_str!("hellos/v1.hex"))
}

fn v1_split() -> Vec<Vec<u8>> {
    captured(include_str!("hellos/v1-split.hex"))
}

/// What quinn sends first, with so many names of protocols.
fn quinn(name: &str, protocols: usize) -> Vec<Vec<u8>> {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = (0..protocols)
        .map(|number| format!("protocol-{number:03}-{}", "x".repeat(80)).into_bytes())
        .collect();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
    let to = "192.0.2.1:443".parse().unwrap();
    let now = Instant::now();
    let (_, mut connection) = endpoint.connect(now, config, to, name).unwrap();
    let mut datagrams = Vec::new();
    let mut room = Vec::new();
    while let Some(transmit) = connection.poll_transmit(now, 1, &mut room) {
        datagrams.push(room[..transmit.size].to_vec());
        room.clear();
    }
    datagrams
}

fn push(datagrams: &[Vec<u8>]) -> Verdict {
    let mut collector = Collector::default();
    let (last, before) = datagrams.split_last().unwrap();
    for datagram in before {
        assert_eq!(collector.push(datagram), Verdict::NeedMore);
        assert_eq!(collector.guess(), App::Quic);
    }
    collector.push(last)
}

fn found(verdict: Verdict) -> (String, Vec<String>) {
    match verdict {
        Verdict::Found(Sniffed {
            app: App::Quic,
            host: Some(host),
            alpn,
        }) => (host.to_string(), alpn),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_name_and_protocols_of_both_versions_are_read() {
    for text in [include_str!("hellos/v1.hex"), include_str!("hellos/v2.hex")] {
        let (host, alpn) = found(push(&captured(text)));
        assert_eq!(
            (host.as_str(), alpn),
            ("quic.example", vec!["h3".to_owned()])
        );
    }
    let (host, alpn) = found(push(&quinn("quinn.example", 2)));
    assert_eq!((host.as_str(), alpn.len()), ("quinn.example", 2));
}

#[test]
fn a_hello_in_several_datagrams_is_put_together_in_any_order() {
    for mut datagrams in [
        v1_split(),
        captured(include_str!("hellos/v2-split.hex")),
        quinn("quinn.example", 24),
    ] {
        assert!(datagrams.len() > 1);
        let forwards = found(push(&datagrams));
        datagrams.reverse();
        assert_eq!(found(push(&datagrams)), forwards);
        assert!(forwards.1.len() >= 24);
    }
}

#[test]
fn packets_that_share_a_datagram_are_looked_at_each() {
    let joined = v1_split().concat();
    assert_eq!(found(push(&[joined])).0, "quic.example");
    // 0-RTT that overtakes the hello, or is in its datagram.
    let mut early = vec![0xd0, 0, 0, 0, 1, 8];
    early.extend([7; 8]);
    early.extend([0, 0x40, 100]);
    early.extend([9; 100]);
    let hello = v1().remove(0);
    let mut collector = Collector::default();
    assert_eq!(collector.push(&early), Verdict::NeedMore);
    assert_eq!(collector.guess(), App::Opaque);
    assert_eq!(found(collector.push(&hello)).0, "quic.example");
    assert_eq!(found(push(&[[early, hello].concat()])).0, "quic.example");
}

#[test]
fn a_hello_that_begins_again_with_another_id_is_read() {
    // As after a Retry: the keys come from the new id.
    let mut collector = Collector::default();
    assert_eq!(collector.push(&v1_split()[0]), Verdict::NeedMore);
    assert_eq!(found(collector.push(&v1()[0])).0, "quic.example");
}

#[test]
fn what_does_not_open_is_not_quic() {
    let hello = v1().remove(0);
    // Behind the packet are zeros that nothing seals.
    let sealed = hello.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for at in [0, 1, 5, 6, 20, sealed / 2, sealed - 1] {
        let mut damaged = hello.clone();
        damaged[at] ^= 0x81;
        assert_eq!(Collector::default().push(&damaged), Verdict::Opaque, "{at}");
    }
    for bytes in [
        &b""[..],
        b"\xc0",
        b"\xc0\0\0\0\x01",
        b"\0\x01\0\0\x21\x12\xa4\x42",
        &[0; 1200],
    ] {
        assert_eq!(
            Collector::default().push(bytes),
            Verdict::Opaque,
            "{bytes:?}"
        );
    }
    for end in 0..sealed {
        assert_eq!(
            Collector::default().push(&hello[..end]),
            Verdict::Opaque,
            "{end}"
        );
    }
}

#[test]
fn a_hello_that_never_ends_is_given_up() {
    let first = v1_split().remove(0);
    let mut collector = Collector::default();
    for _ in 1..MOST_DATAGRAMS {
        assert_eq!(collector.push(&first), Verdict::NeedMore);
    }
    assert_eq!(
        collector.push(&first),
        Verdict::Found(Sniffed::only(App::Quic))
    );
}

#[test]
fn a_name_that_could_be_taken_for_an_address_is_none() {
    let (host, _) = found(push(&quinn("localhost", 1)));
    assert_eq!(HostName::new("localhost").unwrap().as_str(), host);
    let verdict = push(&quinn("192.0.2.1", 1));
    assert!(matches!(
        verdict,
        Verdict::Found(Sniffed {
            app: App::Quic,
            host: None,
            ..
        })
    ));
}

proptest! {
    #[test]
    fn garbage_is_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), as_initial in any::<bool>()) {
        if as_initial && bytes.len() > 6 {
            bytes[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
            bytes[5] %= 24;
        }
        Collector::default().push(&bytes);
    }

    #[test]
    fn frames_of_any_bytes_are_never_a_panic(payload in prop::collection::vec(any::<u8>(), 0..400)) {
        Collector::default().frames(&payload);
    }
}
