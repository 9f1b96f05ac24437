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
    flows.sweep(after(now, 32));
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
    flows.sweep(after(now, 2));
    assert_eq!(flows.len(), 1, "a last segment may be lost");
    flows.sweep(after(now, 5));
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
    flows.sweep(after(now, 590));
    assert_eq!(flows.len(), 1);
    flows.sweep(after(now, 602));
    assert!(flows.is_empty());
}

#[test]
fn the_listener_s_reset_is_the_last_segment_and_a_client_s_is_where_nothing_follows() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let at = flows.seconds(now);
    let flow = established(&flows, 1, now);
    assert!(flow.note(Direction::Out, &segment(RST, 900, 0, 0), at));

    let flow = established(&flows, 2, now);
    assert!(!flow.note(Direction::In, &segment(RST, 7, 0, 0), at));
    assert!(flow.has_ended());
    // It was no reset of the connection's: the kernel did not take it.
    flow.note(Direction::Out, &segment(ACK, 900, 100, 10), at);
    assert!(!flow.has_ended());

    flow.note(Direction::In, &segment(RST, 100, 0, 0), at);
    flows.sweep(after(now, 5));
    assert!(flows.of(&key(2)).is_none());

    let begun = flows.begin(key(3), Hop::Host, now).unwrap();
    assert!(begun.note(Direction::In, &segment(RST, 100, 0, 0), at));
}

#[test]
fn a_silent_flow_ends_and_one_that_is_heard_does_not() {
    let flows = Flows::new(10, 1);
    let now = Instant::now();
    let heard = established(&flows, 1, now);
    established(&flows, 2, now);
    let later = after(now, 400);
    heard.note(
        Direction::Out,
        &segment(ACK, 900, 100, 0),
        flows.seconds(later),
    );
    flows.sweep(after(now, 700));
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
