use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::packet::Segment;

fn key(number: u32) -> Key {
    let client = SocketAddr::from((number.to_be_bytes(), 40_000));
    Key::new(client, "203.0.113.7:443".parse().unwrap())
}

fn segment(flags: u8, sequence: u32, acknowledged: u32, length: usize) -> Segment {
    Segment {
        ports: (40_000, 443),
        sequence,
        acknowledged,
        flags,
        data: 40,
        length,
    }
}

const SYN: u8 = Segment::SYN;
const ACK: u8 = Segment::ACK;
const FIN: u8 = Segment::FIN;
const RST: u8 = Segment::RST;

/// A flow whose ends have shaken hands; the client's numbers begin at 100, the listener's at 900.
fn established(flows: &Flows, number: u32, now: Instant) -> Arc<Flow> {
    let flow = flows.begin(key(number), Hop::Host, now).unwrap();
    let at = flows.seconds(now);
    assert!(!flow.note(Direction::In, &segment(SYN, 99, 0, 0), at));
    assert!(!flow.note(Direction::Out, &segment(SYN | ACK, 899, 100, 0), at));
    assert!(flow.is_half_open());
    assert!(!flow.note(Direction::In, &segment(ACK, 100, 900, 0), at));
    assert!(!flow.is_half_open());
    flow
}

fn after(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}

/// Sweeps every second until so many have passed.
fn pass(flows: &Flows, now: Instant, seconds: u64) {
    for second in 0..=seconds {
        flows.sweep(after(now, second));
    }
}

#[test]
fn a_flow_is_found_from_both_sides_until_it_ends() {
    let flows = Flows::new(10, 1);
    let flow = flows.begin(key(1), Hop::Host, Instant::now()).unwrap();
    let again = flows.begin(key(1), Hop::Host, Instant::now()).unwrap();
    assert!(Arc::ptr_eq(&flow, &again));
    let stand_in = flow.stand_in().address();
    assert!(Arc::ptr_eq(&flows.behind(stand_in).unwrap(), &flow));
    flows.end(&flow);
    flows.end(&flow);
    assert!(flows.of(&key(1)).is_none() && flows.behind(stand_in).is_none());
    assert!(flows.is_empty());
}

#[test]
fn a_flood_of_first_segments_is_bounded_and_leaves_what_is_established() {
    let flows = Flows::new(262_144, 1);
    let now = Instant::now();
    let kept = established(&flows, 1, now);
    for number in 2..100_000 {
        assert!(flows.begin(key(number), Hop::Host, now).is_some());
        assert!(flows.len() <= 4097, "{}", flows.len());
    }
    assert!(flows.of(&kept.key()).is_some());
    assert!(flows.of(&key(99_999)).is_some(), "the youngest stays");
    pass(&flows, now, 32);
    assert_eq!(flows.len(), 1);
}

#[test]
fn there_are_no_more_than_the_most() {
    let flows = Flows::new(100, 1);
    let now = Instant::now();
    for number in 0..100 {
        established(&flows, number, now);
    }
    assert!(flows.begin(key(100), Hop::Host, now).is_none());
    assert_eq!(flows.len(), 100);
    flows.end(&flows.of(&key(5)).unwrap());
    assert!(flows.begin(key(100), Hop::Host, now).is_some());
}

#[test]
fn a_stand_in_rests_until_all_others_were_used() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let mut used = HashSet::new();
    let kept = flows.begin(key(1), Hop::Host, now).unwrap();
    for _ in 0..1000 {
        let flow = flows.begin(key(2), Hop::Host, now).unwrap();
        assert!(used.insert(flow.stand_in()));
        flows.end(&flow);
    }
    // The last of all, after which the first one's turn comes: it lives on and is passed over.
    flows.next.store(StandIn::COUNT - 1, Relaxed);
    for is_used in [false, true] {
        let flow = flows.begin(key(2), Hop::Host, now).unwrap();
        assert_ne!(flow.stand_in(), kept.stand_in());
        assert_eq!(used.contains(&flow.stand_in()), is_used);
        flows.end(&flow);
    }
}

#[test]
fn a_flow_ends_a_little_after_both_ends_were_acknowledged() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let flow = established(&flows, 1, now);
    let at = flows.seconds(now);
    // The client's last 50 bytes, then its end; the listener acknowledges the bytes first.
    assert!(!flow.note(Direction::In, &segment(FIN | ACK, 100, 900, 50), at));
    assert!(!flow.note(Direction::Out, &segment(ACK, 900, 150, 0), at));
    assert!(!flow.note(Direction::Out, &segment(FIN | ACK, 900, 150, 0), at));
    assert!(!flow.note(Direction::In, &segment(ACK, 151, 901, 0), at));
    assert!(!flow.has_ended(), "the client's end is not acknowledged");
    assert!(!flow.note(Direction::Out, &segment(ACK, 901, 151, 0), at));
    assert!(flow.has_ended());
    pass(&flows, now, 2);
    assert_eq!(flows.len(), 1, "a last segment may be lost");
    pass(&flows, now, 5);
    assert!(flows.is_empty());
}

#[test]
fn a_half_closed_flow_lives_for_as_long_as_any_other() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let flow = established(&flows, 1, now);
    let at = flows.seconds(now);
    flow.note(Direction::In, &segment(FIN | ACK, 100, 900, 0), at);
    flow.note(Direction::Out, &segment(ACK, 900, 101, 0), at);
    pass(&flows, now, 590);
    assert_eq!(flows.len(), 1);
    pass(&flows, now, 602);
    assert!(flows.is_empty());
}

#[test]
fn the_listener_s_reset_is_the_last_segment() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let flow = established(&flows, 1, now);
    let at = flows.seconds(now);
    // What it answers to a segment of another connection is none of this one.
    assert!(!flow.note(Direction::Out, &segment(RST, 1 << 30, 0, 0), at));
    assert!(!flow.has_ended());
    assert!(flow.note(Direction::Out, &segment(RST, 900, 0, 0), at));
}

#[test]
fn a_reset_with_another_number_than_the_listener_waits_for_has_no_effect() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let flow = established(&flows, 1, now);
    let at = flows.seconds(after(now, 400));
    for sequence in [0, 7, 99, 101, 12_345, 900, u32::MAX] {
        for flags in [RST, RST | ACK] {
            let blind = segment(flags, sequence, 900, 0);
            assert!(!flow.note(Direction::In, &blind, at), "{sequence}");
            assert!(!flow.has_ended() && !flow.is_reset(), "{sequence}");
        }
    }
    pass(&flows, now, 599);
    assert_eq!(flows.len(), 1);
    // They did not count as signs of life either.
    pass(&flows, now, 602);
    assert!(flows.is_empty());
}

#[test]
fn a_client_s_reset_stays_whatever_the_listener_says_after_it() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let flow = established(&flows, 1, now);
    // Data that the listener has not acknowledged, and the reset right after it.
    flow.note(Direction::In, &segment(ACK, 100, 900, 50), at);
    assert!(!flow.note(Direction::In, &segment(RST | ACK, 150, 900, 0), at));
    assert!(flow.is_reset() && flow.has_ended());
    flow.note(Direction::Out, &segment(ACK, 900, 150, 10), at);
    flow.note(Direction::Out, &segment(FIN | ACK, 910, 150, 0), at);
    flow.note(Direction::In, &segment(ACK, 150, 911, 0), at);
    assert!(flow.is_reset() && flow.has_ended());
    pass(&flows, now, 5);
    assert!(flows.is_empty());

    // The number that it last acknowledged counts, too: the client answers old segments so.
    let flow = established(&flows, 2, now);
    flow.note(Direction::In, &segment(ACK, 100, 900, 50), at);
    assert!(!flow.note(Direction::In, &segment(RST, 100, 0, 0), at));
    assert!(flow.is_reset());
}

#[test]
fn a_reset_of_what_has_only_begun_is_the_last_segment_where_its_number_is_right() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let begun = flows.begin(key(3), Hop::Host, now).unwrap();
    begun.note(Direction::In, &segment(SYN, 99, 0, 0), at);
    begun.note(Direction::Out, &segment(SYN | ACK, 899, 100, 0), at);
    assert!(!begun.note(Direction::In, &segment(RST, 99, 0, 0), at));
    assert!(begun.is_half_open());
    assert!(begun.note(Direction::In, &segment(RST, 100, 0, 0), at));
}

#[test]
fn what_others_make_up_establishes_and_ends_nothing() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let flow = flows.begin(key(1), Hop::Host, now).unwrap();
    flow.note(Direction::In, &segment(SYN, 99, 0, 0), at);
    flow.note(Direction::Out, &segment(SYN | ACK, 899, 100, 0), at);
    let far = 1 << 30;
    for (sequence, acknowledged) in [(far, 900), (100, far), (far, far)] {
        let blind = segment(ACK, sequence, acknowledged, 10);
        assert!(!flow.is_own(&blind));
        flow.note(Direction::In, &blind, at);
        assert!(flow.is_half_open());
        // Nor does it make a later reset right.
        flow.note(Direction::In, &segment(RST, sequence + 10, 0, 0), at);
        assert!(!flow.is_reset());
    }
    flow.note(Direction::In, &segment(ACK, 100, 900, 0), at);
    // The listener has ended its half; the client goes on.
    flow.note(Direction::Out, &segment(FIN | ACK, 900, 100, 0), at);
    flow.note(Direction::In, &segment(ACK, 100, 901, 0), at);
    flow.note(Direction::In, &segment(FIN | ACK, far * 3, 901, 0), at);
    flow.note(Direction::Out, &segment(ACK, 901, 100, 0), at);
    assert!(!flow.has_ended());
}

#[test]
fn numbers_are_followed_past_the_largest() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let flow = flows.begin(key(1), Hop::Host, now).unwrap();
    let (mut client, mut listener) = (u32::MAX - 5_000_000, u32::MAX - 9_000_000);
    flow.note(
        Direction::In,
        &segment(SYN, client.wrapping_sub(1), 0, 0),
        at,
    );
    let answer = segment(SYN | ACK, listener.wrapping_sub(1), client, 0);
    flow.note(Direction::Out, &answer, at);
    for _ in 0..300 {
        let data = segment(ACK, client, listener, 60_000);
        assert!(flow.is_own(&data));
        flow.note(Direction::In, &data, at);
        client = client.wrapping_add(60_000);
        flow.note(Direction::Out, &segment(ACK, listener, client, 50_000), at);
        listener = listener.wrapping_add(50_000);
    }
    flow.note(
        Direction::In,
        &segment(RST, client.wrapping_sub(60_000), 0, 0),
        at,
    );
    assert!(!flow.is_reset());
    flow.note(Direction::In, &segment(RST, client, 0, 0), at);
    assert!(flow.is_reset());
}

#[test]
fn a_connection_that_the_kernel_begins_anew_has_its_own_numbers() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let flow = established(&flows, 1, now);
    flow.note(Direction::In, &segment(FIN | ACK, 100, 900, 0), at);
    flow.note(Direction::In, &segment(SYN, 7_000_099, 0, 0), at);
    flow.note(Direction::Out, &segment(SYN | ACK, 4999, 7_000_100, 0), at);
    assert!(flow.is_half_open());
    // Sent again, as an acknowledgement was lost.
    flow.note(Direction::In, &segment(ACK, 7_000_100, 5000, 10), at);
    flow.note(Direction::Out, &segment(SYN | ACK, 4999, 7_000_100, 0), at);
    assert!(!flow.is_half_open());
    flow.note(Direction::In, &segment(RST, 101, 0, 0), at);
    assert!(!flow.is_reset());
    flow.note(Direction::In, &segment(RST, 7_000_110, 0, 0), at);
    assert!(flow.is_reset());
}

#[test]
fn time_in_which_the_process_stood_still_ends_no_flow() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let flow = established(&flows, 1, now);
    established(&flows, 2, now);
    pass(&flows, now, 10);
    // A packet that waited may be read before the first sweep.
    let later = after(now, 5000);
    flow.note(
        Direction::Out,
        &segment(ACK, 900, 100, 0),
        flows.seconds(later),
    );
    flows.sweep(later);
    assert_eq!(flows.len(), 2);
    pass(&flows, later, 580);
    assert_eq!(flows.len(), 2);
    pass(&flows, later, 595);
    assert!(flows.of(&key(2)).is_none() && flows.of(&key(1)).is_some());
    pass(&flows, later, 605);
    assert!(flows.is_empty());
}

#[test]
fn a_silent_flow_ends_and_one_that_is_heard_does_not() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let heard = established(&flows, 1, now);
    established(&flows, 2, now);
    pass(&flows, now, 400);
    let later = after(now, 400);
    heard.note(
        Direction::Out,
        &segment(ACK, 900, 100, 0),
        flows.seconds(later),
    );
    pass(&flows, later, 300);
    assert!(flows.of(&key(1)).is_some() && flows.of(&key(2)).is_none());
}

#[test]
fn the_place_of_a_client_is_the_one_that_it_was_last_heard_from() {
    let flows = Flows::new(10, 1);
    let station = |number| Hop::Station([2, 0, 0, 0, 0, number]);
    let flow = flows.begin(key(1), station(1), Instant::now()).unwrap();
    assert_eq!(flow.hop(), station(1));
    flow.is_at(station(2));
    assert_eq!(flow.hop(), station(2));
    flow.is_at(Hop::Host);
    assert_eq!(flow.hop(), Hop::Host);
}

#[test]
fn threads_that_begin_and_end_the_same_flows_leave_nothing_behind() {
    let flows = Flows::new(1000, 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..20_000 {
                    let flow = flows
                        .begin(key(round % 50), Hop::Host, Instant::now())
                        .unwrap();
                    assert!(flows.len() <= 1000);
                    flows.end(&flow);
                }
            });
        }
    });
    for number in 0..50 {
        if let Some(flow) = flows.of(&key(number)) {
            flows.end(&flow);
        }
    }
    assert_eq!(flows.len(), 0);
    assert_eq!(flows.by_stand_in.those(|_| true).count(), 0);
}
