//! The codec against itself and against bytes that are no messages.

use crate::support;

use proptest::collection::vec;
use proptest::prelude::*;
use steer_dns::codec::{Class, Header, Kind, Malformed, Message, Name, Question};

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(message in support::message()) {
        let bytes = message.to_bytes().unwrap();
        prop_assert_eq!(Message::parse(&bytes).unwrap(), message);
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_none(message in support::message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.to_bytes().unwrap();
        let cut = cut.index(bytes.len());
        prop_assert!(Message::parse(&bytes[..cut]).is_err());
    }

    #[test]
    fn bytes_behind_a_message_are_refused(message in support::message(), more in 1_usize..9) {
        let mut bytes = message.to_bytes().unwrap();
        bytes.resize(bytes.len() + more, 0);
        prop_assert_eq!(Message::parse(&bytes), Err(Malformed::Trailing));
    }

    #[test]
    fn any_bytes_are_a_message_or_a_reason(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::parse(&bytes) {
            // Whatever could be read can be written, unless its names grow too much.
            if let Ok(again) = message.to_bytes() {
                prop_assert_eq!(Message::parse(&again).unwrap(), message);
            }
        }
    }

    #[test]
    fn a_message_with_wrong_bytes_is_read_or_refused(
        message in support::message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = message.to_bytes().unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Message::parse(&bytes);
    }
}

/// A head that promises so many records, and what follows it.
fn with_counts(counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 0x81, 0x80];
    for count in counts {
        bytes.extend_from_slice(&count.to_be_bytes());
    }
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn counts_that_promise_more_than_there_is_cost_nothing() {
    let bytes = with_counts([u16::MAX; 4], &[]);
    assert_eq!(Message::parse(&bytes), Err(Malformed::Short));
}

#[test]
fn a_name_that_points_to_itself_or_forward_is_refused() {
    for pointer in [b"\xc0\x0c", b"\xc0\x0e", b"\xff\xff"] {
        let question = [&pointer[..], b"\x00\x01\x00\x01"].concat();
        let bytes = with_counts([1, 0, 0, 0], &question);
        assert_eq!(Message::parse(&bytes), Err(Malformed::Pointer));
    }
}

#[test]
fn the_largest_message_of_pointers_is_refused_at_the_first_name_that_turns_too_often() {
    // Each record's owner points to the owner before it.
    let mut bytes = with_counts([0, u16::MAX, 0, 0], b"\x00");
    bytes.extend_from_slice(&[0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let mut last = 12_u16;
    while bytes.len() + 12 < usize::from(u16::MAX) {
        let at = u16::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(&(0xc000 | last & 0x3fff).to_be_bytes());
        bytes.extend_from_slice(&[0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        last = at;
    }
    assert_eq!(Message::parse(&bytes), Err(Malformed::Pointer));
}

#[test]
fn a_second_opt_record_and_one_in_another_place_are_refused() {
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let once = with_counts([0, 0, 0, 1], opt);
    assert_eq!(Message::parse(&once).unwrap().edns.unwrap().payload, 1232);
    let twice = with_counts([0, 0, 0, 2], &[&opt[..], opt].concat());
    assert_eq!(Message::parse(&twice), Err(Malformed::Opt));
    let misplaced = with_counts([0, 1, 0, 0], opt);
    assert_eq!(Message::parse(&misplaced), Err(Malformed::Opt));
    let named = with_counts([0, 0, 0, 1], &[b"\x01a", &opt[..]].concat());
    assert_eq!(Message::parse(&named), Err(Malformed::Opt));
}

#[test]
fn data_of_the_wrong_length_is_refused() {
    for (kind, data) in [
        (1, &b"\x7f\x00\x00"[..]),
        (1, b"\x7f\x00\x00\x01\x02"),
        (28, &[0; 15]),
        (5, b"\x01a\x00\x00"),
        // Parameters of HTTPS: out of order, cut, a hint that is no address, one without any.
        (65, b"\x00\x01\x00\x00\x03\x00\x02\x01\xbb\x00\x01\x00\x00"),
        (65, b"\x00\x01\x00\x00\x03\x00\x09\x01"),
        (65, b"\x00\x01\x00\x00\x04\x00\x03\x01\x02\x03"),
        (65, b"\x00\x01\x00\x00\x04\x00\x00"),
    ] {
        let mut record = vec![0, 0, kind, 0, 1, 0, 0, 0, 0];
        record.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        record.extend_from_slice(data);
        let bytes = with_counts([0, 1, 0, 0], &record);
        assert!(Message::parse(&bytes).is_err(), "type {kind}: {data:?}");
    }
}

#[test]
fn names_are_compressed_where_they_share_an_end() {
    let mut message = Message::new(Header::query(1));
    for name in ["www.example.com", "example.com", "ftp.Example.com"] {
        message.questions.push(Question {
            name: name.parse::<Name>().unwrap(),
            kind: Kind::A,
            class: Class::IN,
        });
    }
    let bytes = message.to_bytes().unwrap();
    let full = "www.example.com".len() + 2;
    assert_eq!(bytes.len(), 12 + (full + 4) + (2 + 4) + (4 + 2 + 4));
    assert_eq!(Message::parse(&bytes).unwrap(), message);
}
