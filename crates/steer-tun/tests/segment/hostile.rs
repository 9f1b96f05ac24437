//! Frames that make no sense, or no good one.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use steer_tun::packet::Reason;
use steer_tun::segment::{GATEWAY, HEADER, Segment, Taken};
use steer_tun::wire::Hop;

use crate::scene::{GATEWAY4, GATEWAY6, STATION, destination, frame, icmp6, setup, take, udp4};

/// Groups that answers may go to.
const GROUPS: [[u8; 6]; 2] = [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1]];

#[test]
fn what_is_for_others_or_no_packet_is_refused() {
    let segment = Segment::new(&setup());
    let packet = udp4(
        ([10, 9, 0, 5].into(), 1),
        ([203, 0, 113, 1].into(), 2),
        b"x",
    );
    let is_taken =
        |to, from, kind| take(&segment, &frame(to, from, kind, &packet), Instant::now()).0;
    let taken = Taken::Packet {
        hop: Hop::Station(STATION),
        at: HEADER,
    };
    assert_eq!(is_taken(GATEWAY, STATION, 0x0800), taken);
    let refused = Taken::Refused(Reason::Frame);
    // Flooded by the bridge, from a group, from nobody, from ourselves.
    assert_eq!(is_taken([2, 0, 0, 0, 0, 9], STATION, 0x0800), refused);
    assert_eq!(is_taken(GATEWAY, [0xff; 6], 0x0800), refused);
    assert_eq!(is_taken(GATEWAY, [0; 6], 0x0800), refused);
    assert_eq!(is_taken(GATEWAY, GATEWAY, 0x0800), refused);
    // Tagged, 802.3 with a length, and what else there is.
    for kind in [0x8100, 0x88a8, 0x0026, 0x88cc] {
        assert_eq!(is_taken(GATEWAY, STATION, kind), refused);
    }
    // A unicast packet that all stations got is for none of them (RFC 1122, 3.3.6).
    assert_eq!(
        is_taken([0xff; 6], STATION, 0x0800),
        Taken::Refused(Reason::Destination)
    );
    for length in 0..HEADER {
        let cut = &frame(GATEWAY, STATION, 0x0800, &packet)[..length];
        assert_eq!(
            take(&segment, cut, Instant::now()).0,
            Taken::Refused(Reason::Length)
        );
    }
}

/// Frames that are nearly right: of each protocol, with some bytes changed, and cut.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let arp = {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
        bytes.extend(STATION);
        bytes.extend([10, 9, 0, 5, 0, 0, 0, 0, 0, 0]);
        bytes.extend(GATEWAY4.octets());
        frame([0xff; 6], STATION, 0x0806, &bytes)
    };
    let own = "fe80::5".parse().expect("an address");
    let solicitation = [
        &[135, 0, 0, 0, 0, 0, 0, 0][..],
        &GATEWAY6.octets(),
        &[1, 1],
        &STATION,
    ];
    let solicitation = icmp6(own, GATEWAY6, 255, &solicitation.concat());
    let router = icmp6(
        own,
        "ff02::2".parse().expect("an address"),
        255,
        &[133, 0, 0, 0, 0, 0, 0, 0],
    );
    let mut dhcp = vec![0; 300];
    dhcp[..3].copy_from_slice(&[1, 1, 6]);
    dhcp[28..34].copy_from_slice(&STATION);
    dhcp[236..246].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 61, 2, 7]);
    dhcp[246] = 255;
    let dhcp = udp4(([0; 4].into(), 68), ([255; 4].into(), 67), &dhcp);
    let right = [
        arp,
        frame(GATEWAY, STATION, 0x86dd, &solicitation),
        frame([0x33, 0x33, 0, 0, 0, 2], STATION, 0x86dd, &router),
        frame([0xff; 6], STATION, 0x0800, &dhcp),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let right = prop::sample::select(right.to_vec());
    (right, changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, end, is_cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => nearly(),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn no_frame_makes_it_panic_or_speak_to_a_third_one(all in prop::collection::vec(frames(), 1..40)) {
        let segment = Segment::new(&setup());
        let mut now = Instant::now();
        for bytes in all {
            now += Duration::from_secs(1);
            let (taken, answers) = take(&segment, &bytes, now);
            prop_assert!(answers.len() <= 1);
            for answer in answers {
                let to = destination(&answer);
                let asked = &bytes[6..12];
                prop_assert!(to == asked || GROUPS.contains(&to), "{answer:02x?} for {bytes:02x?}");
                // No amplifier: of what is short, nothing much longer is made.
                prop_assert!(answer.len() <= bytes.len() + 400);
            }
            if let Taken::Packet { hop, at } = taken {
                prop_assert_eq!((&bytes[..6], at), (&GATEWAY[..], HEADER));
                prop_assert_eq!(hop, Hop::Station(bytes[6..12].try_into().expect("six bytes")));
            }
        }
    }
}
