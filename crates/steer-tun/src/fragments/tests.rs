use proptest::prelude::*;

use super::*;
use crate::packet::build::{self, Ends};
use crate::packet::{Transport, parse};

fn ends(family: Family) -> Ends {
    let (from, to) = match family {
        Family::V4 => ("192.0.2.1", "198.51.100.7"),
        Family::V6 => ("2001:db8::1", "2001:db8:1::7"),
    };
    Ends::new(from.parse().unwrap(), to.parse().unwrap()).unwrap()
}

/// The fragments of a payload, as packets.
fn cut(ends: Ends, id: u32, payload: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let pieces = build::fragments(ends, Transport::Udp, id, payload, longest);
    pieces
        .map(|(head, piece)| [head.bytes(), piece].concat())
        .collect()
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 256) as u8).collect()
}

struct Bench {
    fragments: Fragments,
    counters: Arc<Counters>,
    start: Instant,
}

fn bench(limits: FragmentLimits) -> Bench {
    let counters = Arc::new(Counters::default());
    Bench {
        fragments: Fragments::new(limits, Arc::clone(&counters)),
        counters,
        start: Instant::now(),
    }
}

impl Bench {
    fn add(&self, packet: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        self.add_at(0, packet)
    }

    fn add_at(&self, seconds: u64, packet: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let now = self.start + Duration::from_secs(seconds);
        self.fragments.add(packet, &parse(packet).unwrap(), now)
    }
}

/// The payload of a packet that is whole and has the ends and the transport of its fragments.
fn payload_of(packet: &[u8], ends: Ends) -> Vec<u8> {
    let parsed = parse(packet).unwrap();
    assert_eq!(parsed.fragment, None);
    assert_eq!(
        (parsed.source, parsed.destination),
        (ends.source(), ends.destination())
    );
    assert_eq!(
        (parsed.transport, parsed.end),
        (Transport::Udp, packet.len())
    );
    packet[parsed.start..].to_vec()
}

#[test]
fn fragments_in_any_order_make_their_packet() {
    for family in Family::ALL {
        let ends = ends(family);
        let payload = payload(5000);
        let bench = bench(FragmentLimits::default());
        let in_order = cut(ends, 5, &payload, 1500);
        let mut backwards = in_order.clone();
        backwards.reverse();
        for mut packets in [in_order, backwards] {
            let last = packets.pop().unwrap();
            for packet in packets {
                assert_eq!(bench.add(&packet), Ok(None));
                assert_eq!(
                    bench.add(&packet),
                    Ok(None),
                    "the same again is nothing else"
                );
            }
            let whole = bench.add(&last).unwrap().expect("it is complete");
            assert!(payload_of(&whole, ends) == payload);
            assert_eq!(bench.fragments.bytes(), 0);
        }
    }
}

#[test]
fn extension_headers_before_a_fragment_are_the_packet_s_own() {
    let ends = ends(Family::V6);
    let payload = payload(100);
    let bench = bench(FragmentLimits::default());
    // A hop-by-hop header with padding, before the fragment header.
    let with_header = |packet: &Vec<u8>| {
        let mut longer = packet.clone();
        longer.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0]);
        longer[6] = 0;
        let length = (longer.len() - 40) as u16;
        longer[4..6].copy_from_slice(&length.to_be_bytes());
        longer
    };
    let packets: Vec<_> = cut(ends, 5, &payload, 100)
        .iter()
        .map(with_header)
        .collect();
    let (last, first) = packets.split_last().unwrap();
    first
        .iter()
        .for_each(|packet| assert_eq!(bench.add(packet), Ok(None)));
    let whole = bench.add(last).unwrap().unwrap();
    assert_eq!(whole[40..48], [17, 0, 1, 4, 0, 0, 0, 0]);
    assert!(payload_of(&whole, ends) == payload);
}

#[test]
fn a_packet_in_one_fragment_needs_no_other() {
    let ends = ends(Family::V6);
    let bench = bench(FragmentLimits::default());
    let parts = cut(ends, 5, &payload(2000), 1500);
    assert_eq!(bench.add(&parts[0]), Ok(None));
    let [alone] = &cut(ends, 5, b"12345678alone", 1500)[..] else {
        panic!("it fits");
    };
    let whole = bench.add(alone).unwrap().unwrap();
    assert_eq!(payload_of(&whole, ends), b"12345678alone");
    assert!(
        bench.add(&parts[1]).unwrap().is_some(),
        "the others are not touched"
    );
}

/// A fragment at this place, of this length, with bytes of its own.
fn piece(ends: Ends, id: u32, offset: usize, length: usize, more: bool, fill: u8) -> Vec<u8> {
    let first = &cut(
        ends,
        id,
        &vec![fill; length + 8],
        length.next_multiple_of(8).max(8) + 48,
    )[0];
    let start = parse(first).unwrap().start;
    let mut packet = first[..start + length].to_vec();
    match ends.family() {
        Family::V4 => {
            let (total, word) = (packet.len() as u16, (offset / 8) as u16);
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            let word = if more { word | 0x2000 } else { word };
            packet[6..8].copy_from_slice(&word.to_be_bytes());
            packet[10..12].fill(0);
            let sum = !crate::packet::checksum::fold(crate::packet::checksum::sum(&packet[..20]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => {
            let length = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            let word = offset as u16 | u16::from(more);
            packet[42..44].copy_from_slice(&word.to_be_bytes());
        }
    }
    packet
}

#[test]
fn a_packet_whose_fragments_overlap_is_given_up_for_good() {
    // Offset, length, more: of two fragments that contradict each other.
    let pairs = [
        ((0, 16, true), (8, 16, true)),
        ((8, 16, true), (0, 16, true)),
        ((0, 24, true), (8, 8, true)),
        ((8, 8, true), (0, 24, true)),
        ((0, 16, true), (0, 16, true)),
        ((8, 8, false), (16, 8, true)),
        ((16, 8, true), (8, 8, false)),
        ((16, 8, false), (24, 8, false)),
        ((16, 8, false), (8, 8, false)),
    ];
    for family in Family::ALL {
        let ends = ends(family);
        for (one, other) in pairs {
            let bench = bench(FragmentLimits::default());
            let add = |(offset, length, more), fill| {
                bench.add(&piece(ends, 5, offset, length, more, fill))
            };
            assert_eq!(add(one, 1), Ok(None), "{one:?}");
            assert_eq!(add(other, 2), Err(Reason::Fragments), "{one:?} {other:?}");
            assert_eq!(
                bench.counters.of(Reason::Fragments),
                1,
                "the first is lost too"
            );
            let kept = bench.fragments.bytes();
            for fragment in [(0, 8, true), (8, 8, true), (16, 8, false)] {
                assert_eq!(add(fragment, 3), Err(Reason::Fragments));
            }
            assert_eq!(bench.fragments.bytes(), kept, "nothing more is kept");
            bench.fragments.sweep(bench.start + Duration::from_secs(15));
            assert_eq!(bench.fragments.bytes(), 0);
            assert_eq!(bench.counters.of(Reason::Incomplete), 0);
        }
    }
}

#[test]
fn fragments_that_no_packet_has_are_refused() {
    for family in Family::ALL {
        let ends = ends(family);
        let bench = bench(FragmentLimits::default());
        let refused = |offset, length, more| {
            let packet = piece(ends, 5, offset, length, more, 1);
            assert_eq!(
                bench.add(&packet),
                Err(Reason::Fragments),
                "{offset} {length}"
            );
        };
        refused(0, 12, true);
        refused(8, 0, false);
        refused(8, 0, true);
        refused(65_528, 16, false);
        assert_eq!(bench.fragments.bytes(), 0);
        // Together with the header it is more than a packet holds, in IPv4.
        let parts = cut(ends, 6, &payload(65_500), 1500);
        let added: Vec<_> = parts.iter().map(|packet| bench.add(packet)).collect();
        assert!(matches!(added.last(), Some(Ok(Some(_)))));
    }
}

#[test]
fn what_does_not_come_on_in_time_is_counted_and_forgotten() {
    let ends = ends(Family::V4);
    let bench = bench(FragmentLimits::default());
    let parts = cut(ends, 5, &payload(4000), 1500);
    assert_eq!(bench.add(&parts[0]), Ok(None));
    assert_eq!(bench.add_at(14, &parts[1]), Ok(None));
    assert_eq!(bench.add_at(15, &parts[2]), Ok(None), "it begins anew");
    assert_eq!(bench.counters.of(Reason::Incomplete), 2);
    bench.fragments.sweep(bench.start + Duration::from_secs(29));
    assert_eq!(bench.counters.of(Reason::Incomplete), 2);
    bench.fragments.sweep(bench.start + Duration::from_secs(30));
    assert_eq!(bench.counters.of(Reason::Incomplete), 3);
    assert_eq!(bench.fragments.bytes(), 0);
}

#[test]
fn a_source_has_so_many_packets_and_all_together_so_many_bytes() {
    let ends_of = ends;
    let limits = FragmentLimits {
        bytes: 20_000,
        ..FragmentLimits::default()
    };
    let ends = ends_of(Family::V4);
    let small = bench(FragmentLimits::default());
    let first = |ends, id| cut(ends, id, &payload(4000), 1500).swap_remove(0);
    let taken = (0..1000)
        .filter(|id| small.add(&first(ends, *id)).is_ok())
        .count();
    assert_eq!(taken, limits.source);
    let other = Ends::new(ends.destination(), ends.source()).unwrap();
    assert_eq!(small.add(&first(other, 1)), Ok(None));

    let narrow = bench(limits);
    for id in 0..60 {
        assert_eq!(narrow.add(&first(ends, id)), Ok(None));
        assert!(narrow.fragments.bytes() <= limits.bytes);
    }
    assert!(
        narrow.counters.of(Reason::Incomplete) > 40,
        "the oldest made room"
    );
    let long = cut(ends, 99, &payload(60_000), 1500);
    let refused = long
        .iter()
        .filter(|packet| narrow.add(packet).is_err())
        .count();
    assert!(refused > 0, "one packet may not have all");
    assert!(narrow.fragments.bytes() <= limits.bytes);
}

proptest! {
    #[test]
    fn any_fragments_leave_the_tables_within_their_bounds(
        pieces in prop::collection::vec((0_u32..4, 0_usize..20, 0_usize..64, any::<bool>(), any::<bool>(), 0_u64..40), 0..200),
    ) {
        let limits = FragmentLimits { bytes: 4096, source: 3, wait: Duration::from_secs(15) };
        let bench = bench(limits);
        let mut seconds = 0;
        let mut kept: u64 = 0;
        for (id, offset, length, more, v6, later) in pieces {
            let ends = ends(if v6 { Family::V6 } else { Family::V4 });
            let packet = piece(ends, id, offset * 8, length, more, id as u8);
            if parse(&packet).unwrap().fragment.is_none() {
                continue;
            }
            seconds += later / 20;
            if bench.add_at(seconds, &packet) == Ok(None) {
                kept += 1;
            }
            prop_assert!(bench.fragments.bytes() <= limits.bytes);
        }
        bench.fragments.sweep(bench.start + Duration::from_secs(seconds + 15));
        prop_assert_eq!(bench.fragments.bytes(), 0);
        let counted: u64 = bench.counters.all().map(|(_, count)| count).sum();
        prop_assert!(counted <= kept);
    }

    #[test]
    fn cutting_and_shuffling_is_undone(
        length in 8_usize..20_000, longest in 68_usize..3000, seed in any::<u64>(), v6 in any::<bool>(),
    ) {
        let ends = ends(if v6 { Family::V6 } else { Family::V4 });
        let payload = payload(length);
        let mut packets = cut(ends, 1, &payload, longest);
        // A shuffle by a small generator of its own.
        let mut state = seed | 1;
        for at in (1..packets.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            packets.swap(at, (state >> 33) as usize % (at + 1));
        }
        let bench = bench(FragmentLimits::default());
        let mut whole = None;
        for packet in &packets {
            whole = match parse(packet).unwrap().fragment {
                // All in one.
                None => Some(packet.clone()),
                Some(_) => bench.add(packet).unwrap(),
            };
        }
        prop_assert!(payload_of(&whole.expect("all are there"), ends) == payload);
    }
}
