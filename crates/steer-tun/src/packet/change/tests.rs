use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::packet::{Transport, parse};

/// The sum of RFC 1071 as its text has it, a word at a time.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The bytes of a pseudo header.
fn pseudo(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ip in [source, destination] {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend([0, 6]);
    bytes.extend((length as u16).to_be_bytes());
    bytes
}

/// A segment with the addresses of `ends` and this payload; `extra` four-byte options or eight-byte
/// extension headers before it.
fn segment(ends: (SocketAddr, SocketAddr), payload: &[u8], extra: usize) -> Vec<u8> {
    let (source, destination) = ends;
    let mut tcp = Vec::new();
    tcp.extend(source.port().to_be_bytes());
    tcp.extend(destination.port().to_be_bytes());
    tcp.extend([1, 2, 3, 4, 5, 6, 7, 8, 5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let mut covered = pseudo(source.ip(), destination.ip(), tcp.len());
    covered.extend(&tcp);
    let sum = !plain_sum(&covered);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = 20 + extra * 4;
            let length = (header + tcp.len()) as u16;
            let mut head = vec![0x40 | (header / 4) as u8, 0];
            head.extend(length.to_be_bytes());
            head.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
            head.extend(source.octets());
            head.extend(destination.octets());
            head.extend([1, 1, 1, 1].repeat(extra));
            let sum = !plain_sum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            head
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = (extra * 8 + tcp.len()) as u16;
            let mut head = vec![0x60, 0, 0, 0];
            head.extend(length.to_be_bytes());
            head.extend([if extra > 0 { 60 } else { 6 }, 64]);
            head.extend(source.octets());
            head.extend(destination.octets());
            for number in 1..=extra {
                let next = if number < extra { 60 } else { 6 };
                head.extend([next, 0, 1, 4, 0, 0, 0, 0]);
            }
            head
        }
        _ => unreachable!("both are of one family"),
    };
    packet.extend(tcp);
    packet
}

/// The same packet as a device gives it with its checksum only begun.
fn begun(packet: &[u8], parsed: &Parsed) -> (Vec<u8>, Offload) {
    let mut packet = packet.to_vec();
    let length = parsed.end - parsed.start;
    let sum = plain_sum(&pseudo(parsed.source, parsed.destination, length));
    let at = parsed.start + 16;
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let offload = Offload {
        partial: Some((parsed.start as u16, 16)),
        ..Offload::default()
    };
    (packet, offload)
}

/// What a device does before it sends such a packet.
fn complete(packet: &mut [u8], parsed: &Parsed) {
    let sum = !plain_sum(&packet[parsed.start..parsed.end]);
    let at = parsed.start + 16;
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn ends() -> impl Strategy<Value = [(SocketAddr, SocketAddr); 2]> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits)));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits)));
    let four = prop_oneof![
        proptest::collection::vec(v4, 4),
        proptest::collection::vec(v6, 4)
    ];
    (four, any::<[u16; 4]>()).prop_map(|(ips, ports)| {
        let at = |n: usize| SocketAddr::new(ips[n], ports[n]);
        [(at(0), at(1)), (at(2), at(3))]
    })
}

proptest! {
    #[test]
    fn a_changed_packet_is_the_one_that_would_have_been_made_so(
        [from, to] in ends(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        extra in 0..3_usize,
    ) {
        let original = segment(from, &payload, extra);
        let parsed = parse(&original).unwrap();
        prop_assert_eq!(parsed.transport, Transport::Tcp);
        let change = Change::new(from, to);
        let wanted = segment(to, &payload, extra);

        let mut whole = original.clone();
        change.apply(&mut whole, &parsed, &Offload::default()).unwrap();
        prop_assert_eq!(&whole, &wanted);

        // What comes back has the other order of ends.
        let reply = segment((to.1, to.0), &payload, extra);
        let mut back = reply.clone();
        let parsed_reply = parse(&reply).unwrap();
        change.back().apply(&mut back, &parsed_reply, &Offload::default()).unwrap();
        prop_assert_eq!(back, segment((from.1, from.0), &payload, extra));

        // To and back again is what it was.
        let parsed_wanted = parse(&wanted).unwrap();
        Change::new(to, from).apply(&mut whole, &parsed_wanted, &Offload::default()).unwrap();
        prop_assert_eq!(&whole, &original);

        // A checksum that is only begun leads to the same packet.
        let (mut partial, offload) = begun(&original, &parsed);
        change.apply(&mut partial, &parsed, &offload).unwrap();
        complete(&mut partial, &parsed);
        prop_assert_eq!(&partial, &wanted);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong(
        [from, to] in ends(),
        payload in proptest::collection::vec(any::<u8>(), 1..100),
        flip in 1..=255_u8,
    ) {
        let mut packet = segment(from, &payload, 0);
        let last = packet.len() - 1;
        packet[last] ^= flip;
        let parsed = parse(&packet).unwrap();
        Change::new(from, to).apply(&mut packet, &parsed, &Offload::default()).unwrap();
        let parsed = parse(&packet).unwrap();
        let tcp = &packet[parsed.start..parsed.end];
        let mut covered = pseudo(parsed.source, parsed.destination, tcp.len());
        covered.extend(tcp);
        prop_assert_ne!(plain_sum(&covered), 0xffff);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        [from, to] in ends(),
        start in 0..300_usize,
        partial in proptest::option::of((any::<u16>(), any::<u16>())),
    ) {
        let mut packet = bytes;
        let parsed = Parsed {
            family: steer_core::address::Family::of(from.0.ip()),
            source: from.0.ip(),
            destination: from.1.ip(),
            hops: 1,
            transport: Transport::Tcp,
            start,
            end: packet.len(),
            fragment: None,
        };
        let offload = Offload { partial, ..Offload::default() };
        let _ = Change::new(from, to).apply(&mut packet, &parsed, &offload);
        let _ = crate::packet::Segment::read(&packet, &parsed);
    }
}
