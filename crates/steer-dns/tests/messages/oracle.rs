//! The codec against hickory-proto: each reads what the other writes.

use crate::support;

use hickory_proto::op::Message as Oracle;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use hickory_proto::rr::{Name as OracleName, RData, Record as OracleRecord};
use proptest::prelude::*;
use steer_dns::codec::{Data, Message, Name, Param, Record, Svcb};

fn labels(name: &OracleName) -> Vec<Vec<u8>> {
    name.iter().map(|l| l.to_ascii_lowercase()).collect()
}

fn our_labels(name: &Name) -> Vec<Vec<u8>> {
    name.labels().map(<[u8]>::to_ascii_lowercase).collect()
}

fn same_service(ours: &Svcb, theirs: &SVCB) -> bool {
    let hints_differ = ours.params.iter().any(|param| {
        !theirs
            .svc_params
            .iter()
            .any(|(_, value)| match (param, value) {
                (Param::Ipv4Hint(a), SvcParamValue::Ipv4Hint(b)) => {
                    a.iter().eq(b.0.iter().map(|x| &x.0))
                }
                (Param::Ipv6Hint(a), SvcParamValue::Ipv6Hint(b)) => {
                    a.iter().eq(b.0.iter().map(|x| &x.0))
                }
                (Param::Other { key: 3, value: a }, SvcParamValue::Port(b)) => {
                    *a == b.to_be_bytes()
                }
                (Param::Other { key: 5, value: a }, SvcParamValue::EchConfigList(b)) => *a == b.0,
                _ => false,
            })
    });
    !hints_differ
        && ours.priority == theirs.svc_priority
        && ours.params.len() == theirs.svc_params.len()
        && our_labels(&ours.target) == labels(&theirs.target_name)
}

fn same_record(ours: &Record, theirs: &OracleRecord) -> bool {
    let data = match (&ours.data, &theirs.data) {
        (Data::A(a), RData::A(b)) => *a == b.0,
        (Data::Aaaa(a), RData::AAAA(b)) => *a == b.0,
        (Data::Cname(a), RData::CNAME(b)) => our_labels(a) == labels(&b.0),
        (Data::Ptr(a), RData::PTR(b)) => our_labels(a) == labels(&b.0),
        (Data::Https(a), RData::HTTPS(b)) => same_service(a, &b.0),
        (Data::Svcb(a), RData::SVCB(b)) => same_service(a, b),
        (Data::Other { kind, .. }, other) => kind.0 == u16::from(other.record_type()),
        _ => false,
    };
    data && ours.ttl == theirs.ttl && our_labels(&ours.owner) == labels(&theirs.name)
}

proptest! {
    #[test]
    fn both_read_the_same_and_write_what_the_other_reads(message in support::message()) {
        let bytes = message.to_bytes().unwrap();
        let oracle = Oracle::from_vec(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(oracle.metadata.id, message.header.id);
        prop_assert_eq!(oracle.metadata.truncation, message.header.truncated);
        prop_assert_eq!(oracle.metadata.recursion_desired, message.header.recursion_desired);
        prop_assert_eq!(oracle.metadata.authentic_data, message.header.authentic);
        prop_assert_eq!(u16::from(oracle.metadata.response_code), u16::from(message.header.response.0));
        prop_assert_eq!(
            oracle.edns.as_ref().map(|e| e.max_payload()),
            message.edns.as_ref().map(|e| e.payload)
        );
        for (ours, theirs) in [
            (&message.answers, &oracle.answers),
            (&message.authorities, &oracle.authorities),
            (&message.additionals, &oracle.additionals),
        ] {
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                prop_assert!(same_record(ours, theirs), "{ours:?} is not {theirs:?}");
            }
        }
        let theirs = oracle.to_vec().unwrap();
        let again = Message::parse(&theirs).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again.questions, message.questions);
        prop_assert_eq!(again.answers, message.answers);
        prop_assert_eq!(again.authorities, message.authorities);
        prop_assert_eq!(again.additionals, message.additionals);
    }
}

/// What is made up is read by others as it is meant.
#[test]
fn answers_that_are_made_here_are_answers_to_others() {
    use std::net::{IpAddr, Ipv4Addr};

    use hickory_proto::op::{Edns, Query, ResponseCode};
    use hickory_proto::rr::RecordType;
    use steer_core::names::{Conversation, Query as Verdict, Transport};

    let [_, resolver] = crate::conversation::resolvers();
    let ask = |name: &str, kind: RecordType| {
        let name: OracleName = name.parse().unwrap();
        let mut query = Oracle::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, kind));
        query.set_edns(Edns::new());
        let bytes = query.to_vec().unwrap();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Verdict::Answer(answer) = resolver.query(client, Transport::Udp, &bytes) else {
            panic!("it is answered here");
        };
        let answer = Oracle::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        assert_eq!(answer.queries, query.queries);
        assert!(answer.metadata.recursion_available && answer.edns.is_some());
        answer
    };
    let v4 = ask("x.A.", RecordType::A);
    let [record] = &v4.answers[..] else {
        panic!("one record");
    };
    let RData::A(address) = &record.data else {
        panic!("{record:?}");
    };
    let reverse = OracleName::from(IpAddr::V4(address.0)).to_ascii();
    let back = ask(&reverse, RecordType::PTR);
    assert_eq!(back.answers[0].data.to_string(), "x.a.");
    assert_eq!(ask("x.a.", RecordType::AAAA).answers.len(), 1);
    let https = ask("x.a.", RecordType::HTTPS);
    assert_eq!(https.metadata.response_code, ResponseCode::NoError);
    assert!(https.answers.is_empty());
    let nobody = ask("0.0.18.198.in-addr.arpa.", RecordType::PTR);
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
}
