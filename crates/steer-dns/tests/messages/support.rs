//! Messages to try things on.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use steer_dns::codec::{
    Class, Data, Edns, EdnsOption, Header, Kind, Message, Name, OpCode, Param, Question, Record,
    ResponseCode, Svcb,
};

/// A name with few different labels, so that names share ends.
pub(crate) fn name() -> impl Strategy<Value = Name> {
    let label = prop_oneof![
        4 => "[a-c]{1,3}".prop_map(String::into_bytes),
        1 => "[A-Z0-9_-]{1,12}".prop_map(String::into_bytes),
        1 => vec(1_u8..=255, 1..20),
        1 => Just(vec![b'x'; 63]),
    ];
    vec(label, 0..4).prop_map(|labels| {
        let labels = labels.iter().map(Vec::as_slice);
        Name::from_labels(labels).expect("three labels fit")
    })
}

fn svcb() -> impl Strategy<Value = Svcb> {
    let hints4 = option::of(vec(any::<[u8; 4]>(), 1..4));
    let hints6 = option::of(vec(any::<[u8; 16]>(), 1..4));
    let port = option::of(any::<[u8; 2]>());
    let ech = option::of(vec(any::<u8>(), 1..8));
    (any::<u16>(), name(), port, hints4, ech, hints6).prop_map(
        |(priority, target, port, hints4, ech, hints6)| {
            let other = |key, value: Vec<u8>| Param::Other { key, value };
            let into = |all: Vec<[u8; 4]>| all.into_iter().map(Into::into).collect();
            let into6 = |all: Vec<[u8; 16]>| all.into_iter().map(Into::into).collect();
            let params = [
                port.map(|port| other(3, port.to_vec())),
                hints4.map(|all| Param::Ipv4Hint(into(all))),
                ech.map(|ech| other(5, ech)),
                hints6.map(|all| Param::Ipv6Hint(into6(all))),
            ];
            Svcb {
                priority,
                target,
                params: params.into_iter().flatten().collect(),
            }
        },
    )
}

fn data() -> impl Strategy<Value = Data> {
    let other = |kind: u16, bytes: Vec<u8>| Data::Other {
        kind: Kind(kind),
        bytes,
    };
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Data::A(ip.into())),
        any::<[u8; 16]>().prop_map(|ip| Data::Aaaa(ip.into())),
        name().prop_map(Data::Cname),
        name().prop_map(Data::Ptr),
        svcb().prop_map(Data::Https),
        svcb().prop_map(Data::Svcb),
        // NS, MX, SOA: names in them may come compressed.
        name().prop_map(move |name| other(2, name.as_wire().to_vec())),
        (any::<[u8; 2]>(), name())
            .prop_map(move |(preference, name)| other(15, [&preference, name.as_wire()].concat())),
        (name(), name(), any::<[u8; 20]>())
            .prop_map(move |(a, b, rest)| other(6, [a.as_wire(), b.as_wire(), &rest].concat())),
        // A type that nobody knows.
        vec(any::<u8>(), 1..40).prop_map(move |bytes| other(65_280, bytes)),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    // The highest bit of a TTL is no part of it (RFC 2181, section 8).
    (name(), 0_u32..1 << 31, data()).prop_map(|(owner, ttl, data)| Record {
        owner,
        class: Class::IN,
        ttl,
        data,
    })
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let kind = prop_oneof![
        Just(Kind::A),
        Just(Kind::AAAA),
        Just(Kind::PTR),
        Just(Kind::HTTPS),
        Just(Kind(16)),
    ];
    (name(), kind).prop_map(|(name, kind)| Question {
        name,
        kind,
        class: Class::IN,
    })
}

fn edns() -> impl Strategy<Value = Edns> {
    let option = (65_001_u16..65_535, vec(any::<u8>(), 0..12))
        .prop_map(|(code, data)| EdnsOption { code, data });
    (512_u16..=u16::MAX, any::<bool>(), vec(option, 0..2)).prop_map(|(payload, dnssec, options)| {
        Edns {
            payload,
            flags: u16::from(dnssec) << 15,
            options,
            ..Edns::default()
        }
    })
}

fn header() -> impl Strategy<Value = Header> {
    (any::<u16>(), any::<[bool; 7]>(), 0_u8..=5).prop_map(|(id, bits, response)| Header {
        id,
        is_answer: bits[0],
        op_code: OpCode::QUERY,
        authoritative: bits[1],
        truncated: bits[2],
        recursion_desired: bits[3],
        recursion_available: bits[4],
        reserved: false,
        authentic: bits[5],
        checking_disabled: bits[6],
        response: ResponseCode(response),
    })
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let section = || vec(record(), 0..5);
    (
        header(),
        vec(question(), 0..2),
        section(),
        section(),
        section(),
        option::of(edns()),
    )
        .prop_map(
            |(header, questions, answers, authorities, additionals, edns)| Message {
                header,
                questions,
                answers,
                authorities,
                additionals,
                edns,
            },
        )
}
