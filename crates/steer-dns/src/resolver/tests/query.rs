//! What clients send that is no plain query.

use super::*;

#[test]
fn what_is_no_query_is_dropped_or_told_and_never_forwarded() {
    let (_, resolver) = resolver(&intent());
    let ask = |bytes: &[u8]| resolver.query(ip(HERE), Transport::Udp, bytes);
    let asked = query(Kind::A, "a.example");
    let mut answer = asked.clone();
    answer.header.is_answer = true;
    let good = asked.to_bytes().unwrap();
    for nothing in [&[][..], &good[..11], &answer.to_bytes().unwrap()] {
        assert!(matches!(ask(nothing), Query::Drop(_)), "{nothing:?}");
    }
    let mut two = asked.clone();
    two.questions.push(asked.questions[0].clone());
    let mut odd = asked.clone();
    odd.edns = Some(Edns {
        version: 1,
        payload: 1232,
        ..Edns::default()
    });
    let trailing = [&good[..], b"tunnel"].concat();
    let faulty = [
        &good[..12],
        &good[..20],
        &[0; 12],
        &trailing,
        &two.to_bytes().unwrap(),
        &odd.to_bytes().unwrap(),
    ];
    for bytes in faulty {
        let Query::Answer(reply) = ask(bytes) else {
            panic!("{bytes:?} is told to be faulty");
        };
        let reply = Message::parse(&reply).unwrap();
        let bad_version = reply.edns.is_some_and(|edns| edns.extended_response == 1);
        assert!(bad_version || reply.header.response == ResponseCode::FORM_ERR);
    }
    assert_eq!(resolver.counts().forwarded, 0);
    assert_eq!(ask(&good), Query::Forward(good.clone()));
}

#[test]
fn an_update_passes_through_and_its_answer_too() {
    let (_, resolver) = resolver(&intent());
    let mut update = query(Kind(6), "example");
    update.header.op_code = crate::codec::OpCode(5);
    let bytes = update.to_bytes().unwrap();
    let verdict = resolver.query(ip(HERE), Transport::Udp, &bytes);
    assert_eq!(verdict, Query::Forward(bytes.clone()));
    let done = answer_to(&update, Vec::new());
    assert!(matches!(
        deliver(&resolver, HERE, &update, &done),
        ResolverAnswer::Deliver(_)
    ));
    let mut plain = done;
    plain.header.op_code = crate::codec::OpCode::QUERY;
    assert!(matches!(
        deliver(&resolver, HERE, &update, &plain),
        ResolverAnswer::Ignore(_)
    ));
}

#[test]
fn programs_are_told_that_there_is_no_way_past_the_resolver() {
    let (_, resolver) = resolver(&intent());
    let ddr = made(&resolver, &query(Kind::SVCB, "_dns.resolver.arpa")).unwrap();
    assert_eq!(ddr.header.response, ResponseCode::NO_ERROR);
    assert!(ddr.answers.is_empty());
    let canary = made(&resolver, &query(Kind::A, "use-application-dns.net")).unwrap();
    assert_eq!(canary.header.response, ResponseCode::NX_DOMAIN);
}
