//! Packets of ours, as a reader of the RFCs and not our own code sees them.

use std::net::{IpAddr, SocketAddr};

use steer_core::address::Family;

use super::*;
use crate::packet::{Transport, checksum, parse};

fn ends(family: Family) -> Ends {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    match family {
        Family::V4 => Ends::new(ip("198.51.100.7"), ip("192.0.2.1")).unwrap(),
        Family::V6 => Ends::new(ip("2001:db8::7"), ip("2001:db8:1::1")).unwrap(),
    }
}

/// The sum of 16-bit words, one after the other.
fn plain_sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What a transport's checksum leaves: nothing, where it is right.
fn left_over(packet: &[u8], start: usize, number: u8) -> u16 {
    let payload = &packet[start..];
    let addresses = if packet[0] >> 4 == 4 {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    plain_sum(&[addresses, &length, &[0, 0, 0, number], payload].concat())
}

#[test]
fn a_datagram_has_the_checksums_that_its_receiver_computes() {
    for family in Family::ALL {
        let ends = ends(family);
        let (from, to) = (
            SocketAddr::new(ends.source(), 53),
            SocketAddr::new(ends.destination(), 40000),
        );
        for payload in [&b""[..], b"odd", b"even"] {
            let sum = Sum::Whole(checksum::sum(payload));
            let head = Head::udp(from, to, Some(7), payload.len(), sum).unwrap();
            let packet = [head.bytes(), payload].concat();
            let parsed = parse(&packet).unwrap();
            assert_eq!((parsed.source, parsed.destination), (from.ip(), to.ip()));
            assert_eq!(
                (parsed.transport, parsed.end),
                (Transport::Udp, packet.len())
            );
            assert_eq!(left_over(&packet, parsed.start, 17), 0, "{family:?}");
            if family == Family::V4 {
                assert_eq!(plain_sum(&packet[..20]), 0);
            }
        }
        assert!(Head::udp(from, to, None, 65_528, Sum::Partial).is_none());
    }
    let mixed = Ends::new(ends(Family::V4).source(), ends(Family::V6).source());
    assert_eq!(mixed, None);
}

#[test]
fn a_partial_checksum_is_completed_by_the_sum_of_what_follows() {
    for family in Family::ALL {
        let ends = ends(family);
        let (from, to) = (
            SocketAddr::new(ends.source(), 1),
            SocketAddr::new(ends.destination(), 2),
        );
        let head = Head::udp(from, to, None, 5, Sum::Partial).unwrap();
        let mut packet = [head.bytes(), b"hello"].concat();
        let start = head.len() - 8;
        // What a device does: the sum from the start on, with what the field holds.
        let sum = plain_sum(&packet[start..]);
        packet[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(left_over(&packet, start, 17), 0);
    }
}

#[test]
fn a_sum_of_nothing_is_written_as_all_ones() {
    let (from, to) = ("0.0.0.0:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap());
    // The pseudo header and the header have 17 + 2 * 10.
    let payload = (!37_u16).to_be_bytes();
    let head = Head::udp(from, to, None, 2, Sum::Whole(checksum::sum(&payload))).unwrap();
    assert_eq!(head.bytes()[26..28], [0xff, 0xff]);
}

#[test]
fn fragments_make_the_payload_again_and_fit_the_link() {
    let payload: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
    for family in Family::ALL {
        for longest in [576, 1280, 1500, 4999] {
            let mut whole = Vec::new();
            let mut last = false;
            for (head, piece) in fragments(ends(family), Transport::Udp, 99, &payload, longest) {
                let packet = [head.bytes(), piece].concat();
                assert!(packet.len() <= longest, "{} bytes", packet.len());
                let parsed = parse(&packet).unwrap();
                let fragment = parsed.fragment.unwrap();
                assert_eq!((fragment.id, fragment.offset), (99, whole.len()));
                assert_eq!((parsed.transport, last), (Transport::Udp, false));
                whole.extend_from_slice(&packet[parsed.start..parsed.end]);
                last = !fragment.more;
            }
            assert_eq!(
                (whole == payload, last),
                (true, true),
                "{family:?} {longest}"
            );
        }
        assert_eq!(
            fragments(ends(family), Transport::Udp, 1, &payload, 50).count(),
            0
        );
        let long = vec![0; 70_000];
        assert_eq!(
            fragments(ends(family), Transport::Udp, 1, &long, 1500).count(),
            0
        );
    }
}

/// A segment from the destination of `ends` to its source, with these flags and this payload.
fn segment(ends: Ends, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 24];
    header[..2].copy_from_slice(&40000_u16.to_be_bytes());
    header[2..4].copy_from_slice(&443_u16.to_be_bytes());
    header[4..8].copy_from_slice(&0xffff_fffe_u32.to_be_bytes());
    header[8..12].copy_from_slice(&1234_u32.to_be_bytes());
    header[12] = 6 << 4;
    header[13] = flags;
    let back = Ends::new(ends.destination(), ends.source()).unwrap();
    let head = Head::ip(back, Transport::Tcp, 64, None, 24 + payload.len()).unwrap();
    [head.bytes(), &header, payload].concat()
}

#[test]
fn a_reset_is_the_one_that_the_sender_accepts() {
    for family in Family::ALL {
        let ends = ends(family);
        // Flags, payload; sequence, acknowledgement and flags of the answer.
        let cases: [(u8, &[u8], u32, u32, u8); 4] = [
            (0x02, b"", 0, 0xffff_ffff, 0x14),
            (0x02, b"fast", 0, 3, 0x14),
            (0x01, b"", 0, 0xffff_ffff, 0x14),
            (0x18, b"data", 1234, 0, 0x04),
        ];
        for (flags, payload, sequence, acknowledged, answer) in cases {
            let packet = segment(ends, flags, payload);
            let reset = reset(&packet, &parse(&packet).unwrap()).unwrap();
            let parsed = parse(&reset).unwrap();
            assert_eq!(
                (parsed.source, parsed.destination),
                (ends.source(), ends.destination())
            );
            let tcp = &reset[parsed.start..parsed.end];
            assert_eq!(tcp[..4], [1, 187, 0x9c, 0x40]);
            assert_eq!(tcp[4..8], sequence.to_be_bytes());
            assert_eq!(tcp[8..12], acknowledged.to_be_bytes());
            assert_eq!((tcp[12], tcp[13]), (0x50, answer));
            assert_eq!(left_over(&reset, parsed.start, 6), 0);
        }
    }
}

#[test]
fn a_reset_and_what_is_no_segment_are_not_answered() {
    let packet = segment(ends(Family::V4), 0x04, b"");
    assert_eq!(reset(&packet, &parse(&packet).unwrap()), None);
    let mut short = segment(ends(Family::V4), 0x10, b"");
    let mut parsed = parse(&short).unwrap();
    // A data offset beyond the segment.
    short[32] = 0xf0;
    assert_eq!(reset(&short, &parsed), None);
    parsed.end -= 10;
    assert_eq!(reset(&short, &parsed), None);
}

#[test]
fn a_message_of_icmp_has_the_checksum_of_its_family() {
    let message = Message {
        kind: 0,
        code: 0,
        rest: [1, 2, 3, 4],
    };
    let v4 = icmp(ends(Family::V4), message, b"odd");
    assert_eq!((plain_sum(&v4), &v4[8..]), (0, &b"odd"[..]));
    let ends = ends(Family::V6);
    let v6 = icmp(ends, message, b"odd");
    let head = Head::ip(ends, Transport::Icmp, 64, None, v6.len()).unwrap();
    assert_eq!(left_over(&[head.bytes(), &v6].concat(), 40, 58), 0);
}
