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
