//! What is asked of the gateway's addresses, and what is said of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use steer_tun::packet::Reason;
use steer_tun::segment::{GATEWAY, HEADER, LINK_LOCAL, Mac, Segment, Taken};
use steer_tun::wire::Hop;

use crate::scene::{
    GATEWAY4, GATEWAY6, STATION, assert_ours, destination, frame, icmp6, setup, take,
};

const OWN4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 5);
const ALL: Mac = [0xff; 6];

fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    bytes.extend(sender.0);
    bytes.extend(sender.1.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    frame(ALL, STATION, 0x0806, &bytes)
}

fn solicitation(source: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat();
    let [.., a, b, c, d] = to.octets();
    frame(
        [0x33, 0x33, a, b, c, d],
        STATION,
        0x86dd,
        &icmp6(source, to, 255, &message),
    )
}

fn group_of(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

#[test]
fn a_request_for_the_gateway_is_answered_to_the_station_that_asked() {
    let segment = Segment::new(&setup());
    let (taken, answers) = take(&segment, &arp(1, (STATION, OWN4), GATEWAY4), Instant::now());
    assert_eq!(taken, Taken::Answered);
    let [answer] = &answers[..] else {
        panic!("{answers:02x?}")
    };
    assert_ours(answer);
    assert_eq!(destination(answer), STATION);
    let said = [
        &[0, 1, 8, 0, 6, 4, 0, 2][..],
        &GATEWAY,
        &GATEWAY4.octets(),
        &STATION,
        &OWN4.octets(),
    ];
    assert_eq!(answer[HEADER..], said.concat());
    assert_eq!(segment.hop_of(OWN4.into()), Some(Hop::Station(STATION)));
}

#[test]
fn what_is_asked_of_others_is_left_to_them() {
    let segment = Segment::new(&setup());
    let other = Ipv4Addr::new(10, 9, 0, 7);
    let other6 = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 7);
    for frame in [
        arp(1, (STATION, OWN4), other),
        arp(1, (STATION, Ipv4Addr::UNSPECIFIED), other),
        solicitation(OWN6, group_of(other6), other6, &[]),
    ] {
        assert_eq!(
            take(&segment, &frame, Instant::now()),
            (Taken::Answered, vec![])
        );
    }
    // A probe says of nobody that it has an address.
    assert_eq!(segment.hop_of(Ipv4Addr::UNSPECIFIED.into()), None);
}

#[test]
fn a_probe_for_the_gateway_s_address_finds_it_taken() {
    let segment = Segment::new(&setup());
    let probe = arp(1, (STATION, Ipv4Addr::UNSPECIFIED), GATEWAY4);
    let (taken, answers) = take(&segment, &probe, Instant::now());
    assert_eq!((taken, answers.len()), (Taken::Answered, 1));
    assert_eq!(destination(&answers[0]), STATION);
}

#[test]
fn the_gateway_s_address_is_defended_now_and_then() {
    let segment = Segment::new(&setup());
    let now = Instant::now();
    let claim = arp(2, (STATION, GATEWAY4), GATEWAY4);
    let refused = Taken::Refused(Reason::Source);
    let (taken, answers) = take(&segment, &claim, now);
    assert_eq!((taken, answers.len()), (refused, 1));
    assert_eq!(destination(&answers[0]), ALL);
    assert_eq!(
        take(&segment, &claim, now + Duration::from_secs(9)),
        (refused, vec![])
    );
    assert_eq!(
        take(&segment, &claim, now + Duration::from_secs(10))
            .1
            .len(),
        1
    );
    assert_eq!(segment.hop_of(GATEWAY4.into()), None);
}

#[test]
fn nobody_speaks_for_another_station() {
    let segment = Segment::new(&setup());
    let other = [2, 2, 2, 2, 2, 2];
    let lies = [
        arp(1, (other, OWN4), GATEWAY4),
        solicitation(
            OWN6,
            group_of(GATEWAY6),
            GATEWAY6,
            &[&[1, 1][..], &other].concat(),
        ),
    ];
    for lie in lies {
        let refused = (Taken::Refused(Reason::Source), vec![]);
        assert_eq!(take(&segment, &lie, Instant::now()), refused);
    }
    assert_eq!(segment.hop_of(OWN4.into()), None);
}

#[test]
fn a_solicitation_is_answered_with_a_whole_advertisement() {
    let segment = Segment::new(&setup());
    for target in [GATEWAY6, LINK_LOCAL] {
        let options = [&[1, 1][..], &STATION].concat();
        let asked = solicitation(OWN6, group_of(target), target, &options);
        let (taken, answers) = take(&segment, &asked, Instant::now());
        assert_eq!((taken, answers.len()), (Taken::Answered, 1));
        let answer = &answers[0];
        assert_ours(answer);
        assert_eq!(destination(answer), STATION);
        let flags = 0b1110_0000;
        let option = [&[2, 1][..], &GATEWAY].concat();
        let said = [
            &[136, 0, 0, 0, flags, 0, 0, 0][..],
            &target.octets(),
            &option,
        ]
        .concat();
        assert_eq!(answer[HEADER..], icmp6(target, OWN6, 255, &said));
    }
}

#[test]
fn duplicate_address_detection_is_answered_to_all() {
    let segment = Segment::new(&setup());
    let asked = solicitation(Ipv6Addr::UNSPECIFIED, group_of(GATEWAY6), GATEWAY6, &[]);
    let (_, answers) = take(&segment, &asked, Instant::now());
    assert_eq!(answers.len(), 1);
    assert_eq!(destination(&answers[0]), [0x33, 0x33, 0, 0, 0, 1]);
    // Not solicited, from the gateway, which is a router.
    assert_eq!(answers[0][HEADER + 44], 0b1010_0000);
}

#[test]
fn discovery_from_afar_is_refused() {
    let segment = Segment::new(&setup());
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &GATEWAY6.octets()].concat();
    let near = icmp6(OWN6, GATEWAY6, 255, &message);
    let far = icmp6(OWN6, GATEWAY6, 254, &message);
    let mut wrong = near.clone();
    wrong[42] ^= 1;
    let cut = icmp6(OWN6, GATEWAY6, 255, &message[..20]);
    let endless = icmp6(
        OWN6,
        GATEWAY6,
        255,
        &[&message[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(),
    );
    let cases = [
        (near, Taken::Answered),
        (far, Taken::Refused(Reason::Icmp)),
        (wrong, Taken::Refused(Reason::Checksum)),
        (cut, Taken::Refused(Reason::Length)),
        (endless, Taken::Refused(Reason::Length)),
    ];
    for (packet, expected) in cases {
        let (taken, answers) = take(
            &segment,
            &frame(GATEWAY, STATION, 0x86dd, &packet),
            Instant::now(),
        );
        assert_eq!(taken, expected);
        assert_eq!(answers.len(), usize::from(expected == Taken::Answered));
    }
}

#[test]
fn routers_are_told_of_where_asked_and_seldom_to_all() {
    let segment = Segment::new(&setup());
    let now = Instant::now();
    let ask = |source: Ipv6Addr| {
        let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let packet = icmp6(source, all_routers, 255, &[133, 0, 0, 0, 0, 0, 0, 0]);
        frame([0x33, 0x33, 0, 0, 0, 2], STATION, 0x86dd, &packet)
    };
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
    for _ in 0..2 {
        let (_, answers) = take(&segment, &ask(own), now);
        assert_eq!(answers.len(), 1);
        assert_eq!(destination(&answers[0]), STATION);
    }
    // Who has no address yet makes it tell all; a flood of them no more than one in three seconds.
    let told = (0..100).map(|_| take(&segment, &ask(Ipv6Addr::UNSPECIFIED), now).1.len());
    assert_eq!(told.sum::<usize>(), 1);
    let mut swept = 0;
    for second in 0..1000 {
        segment.sweep(now + Duration::from_secs(second), &mut |_| swept += 1);
    }
    // Two more of the three at the start, then one in 400 seconds.
    assert_eq!(swept, 4);
}

#[test]
fn a_router_that_goes_says_so_to_all_and_nothing_after_it() {
    let segment = Segment::new(&setup());
    let mut told = Vec::new();
    segment.leave(&mut |frame| told.push(frame.to_vec()));
    segment.leave(&mut |frame| panic!("{frame:02x?}"));
    segment.close(&mut |frame| told.push(frame.to_vec()));
    segment.close(&mut |frame| panic!("{frame:02x?}"));
    segment.sweep(Instant::now(), &mut |frame| panic!("{frame:02x?}"));
    let lifetimes = told.iter().map(|frame| {
        // Behind the headers of Ethernet and IPv6: the router's; the prefix stands behind 16 bytes, its
        // source's address and the MTU.
        let message = &frame[14 + 40..];
        let prefix = &message[32..];
        assert_eq!((message[0], prefix[0]), (134, 3));
        let preferred = u32::from_be_bytes(prefix[8..12].try_into().unwrap());
        (u16::from_be_bytes([message[6], message[7]]), preferred)
    });
    assert_eq!(lifetimes.collect::<Vec<_>>(), [(30, 0), (0, 0)]);
}

#[test]
fn a_router_that_is_not_wanted_says_nothing() {
    let mut setup = setup();
    setup.advertise = false;
    let segment = Segment::new(&setup);
    segment.sweep(Instant::now(), &mut |frame| panic!("{frame:02x?}"));
}
