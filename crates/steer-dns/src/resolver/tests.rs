mod fake;
mod memory;
mod query;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use steer_core::instance::Instance;
use steer_core::intent::Scope;

use super::*;
use crate::clock::tests::Hand;
use crate::codec::{Data, Edns, Kind, Name, Param, Question, Record, Svcb};

const HERE: &str = "127.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn intent() -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    intent.traffic.dns = Some(Dns::Capture);
    intent
}

fn with_pools(names: &[&str]) -> Intent {
    let mut intent = intent();
    intent.resolve.fake = Some(FakeIp {
        pools: FakeIp::default_pools(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        except: vec!["not.example".parse().unwrap()],
        file: None,
    });
    intent
}

/// A resolver whose clock is in our hand.
fn resolver(intent: &Intent) -> (Arc<Hand>, Resolver) {
    let clock = Arc::new(Hand::default());
    let fake = intent.resolve.fake.as_ref();
    let fake = fake.map(|fake| made_up(intent, fake, clock.as_ref()).unwrap());
    let memory = Memory::new(Clients::of(intent));
    let rebinding = Rebinding::for_intent(intent);
    let resolver = Resolver::new(
        memory,
        fake,
        rebinding,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    (clock, resolver)
}

fn query(kind: Kind, name: &str) -> Message {
    let mut message = Message::new(Header::query(7));
    message.questions.push(Question {
        name: name.parse().unwrap(),
        kind,
        class: Class::IN,
    });
    message
}

fn answer_to(query: &Message, records: Vec<Data>) -> Message {
    let mut message = Message::new(query.header.answer(ResponseCode::NO_ERROR));
    message.questions.clone_from(&query.questions);
    message.answers = records
        .into_iter()
        .map(|data| Record {
            owner: query.questions[0].name.clone(),
            class: Class::IN,
            ttl: 300,
            data,
        })
        .collect();
    message
}

fn addresses(all: &[&str]) -> Vec<Data> {
    all.iter().map(|a| Data::address(ip(a))).collect()
}

fn deliver(resolver: &Resolver, client: &str, query: &Message, answer: &Message) -> ResolverAnswer {
    let [query, answer] = [query, answer].map(|m| m.to_bytes().unwrap());
    resolver.answer(ip(client), Transport::Udp, &query, &answer)
}

fn told(resolver: &Resolver, client: &str, name: &str, all: &[&str]) {
    let query = query(Kind::A, name);
    let answer = answer_to(&query, addresses(all));
    let bytes = answer.to_bytes().unwrap();
    assert_eq!(
        deliver(resolver, client, &query, &answer),
        ResolverAnswer::Deliver(bytes)
    );
}

/// The answer that is made here.
fn made(resolver: &Resolver, query: &Message) -> Option<Message> {
    let bytes = query.to_bytes().unwrap();
    match resolver.query(ip(HERE), Transport::Udp, &bytes) {
        Query::Answer(answer) => Some(Message::parse(&answer).unwrap()),
        Query::Forward(sent) => {
            assert_eq!(sent, bytes);
            None
        }
        Query::Drop(why) => panic!("{why}"),
    }
}

fn meant(resolver: &Resolver, client: &str, address: IpAddr) -> String {
    match resolver.lookup(ip(client), address) {
        Meaning::Unknown => "unknown".to_owned(),
        Meaning::Answered(name) => name.to_string(),
        Meaning::Fake(name) => format!("fake {name}"),
        Meaning::Dead => "dead".to_owned(),
    }
}
