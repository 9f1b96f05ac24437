//! Both conversations against anything that can be sent to them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use steer_core::instance::Instance;
use steer_core::intent::{Dns, FakeIp, Intent, Scope};
use steer_core::names::{Conversation, Meaning, Names, Query, ResolverAnswer, Transport};
use steer_dns::Resolver;
use steer_dns::codec::{Header, Message, ResponseCode};

use crate::support;

/// One that remembers, and one that makes up the addresses of half of the names that are tried.
pub(crate) fn resolvers() -> [Arc<Resolver>; 2] {
    let instance = Instance::new("main").expect("a literal name is valid");
    let mut intent = Intent::new(instance, Scope::command());
    intent.traffic.dns = Some(Dns::Capture);
    let remembers = resolver(&intent);
    intent.resolve.fake = Some(FakeIp {
        pools: FakeIp::default_pools(),
        names: ["*.a", "b"]
            .map(|name| name.parse().expect("valid"))
            .to_vec(),
        except: Vec::new(),
        file: None,
    });
    [remembers, resolver(&intent)]
}

fn resolver(intent: &Intent) -> Arc<Resolver> {
    let resolver = steer_dns::for_intent(intent).expect("nothing is in the way");
    resolver.expect("DNS is captured")
}

const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// What the client takes at most.
fn limit(transport: Transport, query: &[u8]) -> usize {
    let payload = Message::parse(query)
        .ok()
        .and_then(|query| query.edns)
        .map_or(512, |edns| usize::from(edns.payload).max(512));
    match transport {
        Transport::Udp => payload,
        Transport::Tcp => usize::from(u16::MAX),
    }
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Sends both, and checks what comes out.
fn converse(query: &[u8], answer: &[u8]) -> Result<(), TestCaseError> {
    for resolver in resolvers() {
        for transport in TRANSPORTS {
            let limit = limit(transport, query);
            match resolver.query(CLIENT, transport, query) {
                Query::Forward(sent) => {
                    prop_assert_eq!(&sent, query);
                    prop_assert!(Message::parse(&sent).is_ok(), "only messages go on");
                }
                Query::Answer(reply) => {
                    let head = Header::read(query).expect("it was answered");
                    let reply_head = Message::parse(&reply).expect("ours").header;
                    prop_assert!(reply_head.is_answer && reply_head.id == head.id);
                    prop_assert!(reply.len() <= limit);
                }
                Query::Drop(_) => {}
            }
            match resolver.answer(CLIENT, transport, query, answer) {
                ResolverAnswer::Deliver(reply) => {
                    prop_assert!(reply.len() <= limit);
                    let [asked, reply] =
                        [query, &reply].map(|m| Message::parse(m).expect("checked"));
                    prop_assert_eq!(reply.header.id, asked.header.id);
                    prop_assert!(reply.header.is_answer);
                }
                ResolverAnswer::Ignore(_) => {}
            }
            resolver.learned(query, answer);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_answered_within_the_limit_or_not_at_all(
        query in vec(any::<u8>(), 0..300),
        answer in vec(any::<u8>(), 0..300),
    ) {
        converse(&query, &answer)?;
    }

    #[test]
    fn any_messages_are(query in support::message(), answer in support::message()) {
        converse(&query.to_bytes().unwrap(), &answer.to_bytes().unwrap())?;
    }

    #[test]
    fn an_answer_that_fits_its_query_is_and_so_are_spoilt_ones(
        question in support::question(),
        mut answer in support::message(),
        spoilt in vec((any::<Index>(), any::<u8>()), 0..3),
    ) {
        let mut query = Message::new(Header::query(answer.header.id));
        query.questions.push(question);
        answer.questions.clone_from(&query.questions);
        answer.header.is_answer = true;
        let query = query.to_bytes().unwrap();
        let mut answer = answer.to_bytes().unwrap();
        for (at, value) in spoilt {
            let at = at.index(answer.len());
            answer[at] = value;
        }
        converse(&query, &answer)?;
    }
}

#[test]
fn the_largest_message_is_read_in_full() {
    // 64 KiB, every record's owner a pointer to the question.
    let mut query = Message::new(Header::query(1));
    query.questions.push(steer_dns::codec::Question {
        name: "a.example".parse().unwrap(),
        kind: steer_dns::codec::Kind::A,
        class: steer_dns::codec::Class::IN,
    });
    let mut answer = query.clone();
    answer.header = query.header.answer(ResponseCode::NO_ERROR);
    let addresses = (0..4090_u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        Ipv4Addr::new(192, 0, high, low)
    });
    answer.answers = addresses
        .map(|ip| steer_dns::codec::Record {
            owner: "a.example".parse().unwrap(),
            class: steer_dns::codec::Class::IN,
            ttl: 1,
            data: steer_dns::codec::Data::A(ip),
        })
        .collect();
    let [query, answer] = [query, answer].map(|m| m.to_bytes().unwrap());
    assert!(answer.len() > 65_000);
    let [resolver, _] = resolvers();
    let whole = resolver.answer(CLIENT, Transport::Tcp, &query, &answer);
    assert_eq!(whole, ResolverAnswer::Deliver(answer));
    let known = |n: u16| {
        let [high, low] = n.to_be_bytes();
        resolver.lookup(CLIENT, IpAddr::from([192, 0, high, low])) != Meaning::Unknown
    };
    assert!(known(0) && known(255));
    assert!(
        !known(256),
        "one answer does not take a client's whole memory"
    );
}
