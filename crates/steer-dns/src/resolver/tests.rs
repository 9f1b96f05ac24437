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
    let pools = fake.map(|fake| fake.pools.clone()).unwrap_or_default();
    let fake = fake.map(|fake| made_up(intent, fake, clock.as_ref()).unwrap());
    let memory = Memory::new(Clients::of(intent));
    let resolver = Resolver::new(memory, fake, pools, Arc::clone(&clock) as Arc<dyn Clock>);
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

#[test]
fn a_program_asks_from_loopback_and_dials_from_another_address() {
    let (_, resolver) = resolver(&intent());
    told(&resolver, "127.0.0.1", "a.example", &["192.0.2.1"]);
    assert_eq!(
        meant(&resolver, "198.51.100.7", ip("192.0.2.1")),
        "a.example"
    );
    assert_eq!(
        meant(&resolver, "198.51.100.7", ip("::ffff:192.0.2.1")),
        "a.example"
    );
    assert_eq!(meant(&resolver, HERE, ip("192.0.2.2")), "unknown");
}

#[test]
fn forwarded_clients_do_not_learn_from_each_other() {
    let mut intent = intent();
    intent.scope = Scope::default();
    intent.scope.of.interface = vec!["eth1".to_owned()];
    let (_, resolver) = resolver(&intent);
    told(&resolver, "10.0.0.2", "a.example", &["192.0.2.1"]);
    told(&resolver, "10.0.0.3", "b.example", &["192.0.2.1"]);
    let name = |client| meant(&resolver, client, ip("192.0.2.1"));
    let names = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(name);
    assert_eq!(names, ["a.example", "b.example", "unknown"]);
}

#[test]
fn an_answer_is_remembered_for_its_time_within_bounds() {
    let (clock, resolver) = resolver(&intent());
    let mut question = query(Kind::A, "a.example");
    for (address, ttl) in [
        ("192.0.2.1", 0),
        ("192.0.2.2", 3600),
        ("192.0.2.3", u32::MAX),
    ] {
        question.header.id += 1;
        let mut answer = answer_to(&question, addresses(&[address]));
        answer.answers[0].ttl = ttl;
        deliver(&resolver, HERE, &question, &answer);
    }
    let known = || {
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .map(|address| meant(&resolver, HERE, ip(address)) == "a.example")
    };
    assert_eq!(known(), [true, true, true]);
    clock.pass(Duration::from_secs(119));
    assert_eq!(known(), [true, true, true]);
    clock.pass(Duration::from_secs(60));
    assert_eq!(known(), [false, true, true]);
    clock.pass(Duration::from_secs(3600));
    assert_eq!(known(), [false, false, true]);
    clock.pass(Duration::from_secs(24 * 3600));
    assert_eq!(known(), [false, false, false]);
}

#[test]
fn an_answer_to_another_query_is_ignored_and_teaches_nothing() {
    let (_, resolver) = resolver(&intent());
    let asked = query(Kind::A, "a.example");
    let good = answer_to(&asked, addresses(&["192.0.2.1"]));
    let forged = [
        Message {
            header: Header {
                id: 8,
                ..good.header
            },
            ..good.clone()
        },
        Message {
            header: Header {
                is_answer: false,
                ..good.header
            },
            ..good.clone()
        },
        Message {
            questions: query(Kind::A, "b.example").questions,
            ..good.clone()
        },
        Message {
            questions: query(Kind::AAAA, "a.example").questions,
            ..good.clone()
        },
        Message {
            questions: Vec::new(),
            ..good.clone()
        },
        Message {
            questions: [&good.questions[..], &good.questions].concat(),
            ..good.clone()
        },
    ];
    for message in &forged {
        let verdict = deliver(&resolver, HERE, &asked, message);
        assert!(matches!(verdict, ResolverAnswer::Ignore(_)), "{message:?}");
    }
    let bytes = asked.to_bytes().unwrap();
    let cut = &good.to_bytes().unwrap()[..20];
    let verdict = resolver.answer(ip(HERE), Transport::Udp, &bytes, cut);
    assert!(matches!(verdict, ResolverAnswer::Ignore(_)));
    assert_eq!(meant(&resolver, HERE, ip("192.0.2.1")), "unknown");
    assert_eq!(resolver.counts().ignored, 7);
    // Case is a resolver's to keep or not.
    let mut shouted = good;
    shouted.questions = query(Kind::A, "A.EXAMPLE").questions;
    assert!(matches!(
        deliver(&resolver, HERE, &asked, &shouted),
        ResolverAnswer::Deliver(_)
    ));
    assert_eq!(meant(&resolver, HERE, ip("192.0.2.1")), "a.example");
}

#[test]
fn a_refusal_without_a_question_is_delivered() {
    let (_, resolver) = resolver(&intent());
    let asked = query(Kind::A, "a.example");
    let refusal = Message::new(asked.header.answer(ResponseCode(5)));
    let bytes = refusal.to_bytes().unwrap();
    assert_eq!(
        deliver(&resolver, HERE, &asked, &refusal),
        ResolverAnswer::Deliver(bytes)
    );
}

#[test]
fn an_answer_that_points_at_this_host_is_refused_and_counted() {
    let (_, resolver) = resolver(&with_pools(&["a.example"]));
    let mut asked = query(Kind::A, "evil.example");
    asked.edns = Some(Edns {
        payload: 1232,
        ..Edns::default()
    });
    for (count, address) in (1..).zip(["127.0.0.1", "0.0.0.0", "198.18.0.7"]) {
        let answer = answer_to(&asked, addresses(&["192.0.2.1", address]));
        let ResolverAnswer::Deliver(bytes) = deliver(&resolver, HERE, &asked, &answer) else {
            panic!("the client hears of it");
        };
        let refusal = Message::parse(&bytes).unwrap();
        assert_eq!(refusal.header.response, ResponseCode::SERV_FAIL);
        assert!(refusal.answers.is_empty());
        assert_eq!(refusal.edns.unwrap().options[0].data, [0, 15], "blocked");
        assert_eq!(resolver.counts().rebinding, count);
        assert_eq!(meant(&resolver, HERE, ip("192.0.2.1")), "unknown");
        let [query, raw] = [&asked, &answer].map(|m| m.to_bytes().unwrap());
        assert_eq!(resolver.learned(&query, &raw), None);
    }
}

#[test]
fn an_answer_that_is_too_large_for_the_client_is_cut_and_told_by_tcp() {
    let (_, resolver) = resolver(&intent());
    let many: Vec<_> = (0..200)
        .map(|n| Data::A(Ipv4Addr::new(192, 0, 2, n)))
        .collect();
    let mut asked = query(Kind::A, "a.example");
    for (payload, limit) in [
        (None, 512),
        (Some(100), 512),
        (Some(1232), 1232),
        (Some(4096), 4096),
    ] {
        asked.edns = payload.map(|payload| Edns {
            payload,
            ..Edns::default()
        });
        let answer = answer_to(&asked, many.clone());
        let whole = answer.to_bytes().unwrap();
        let ResolverAnswer::Deliver(bytes) = deliver(&resolver, HERE, &asked, &answer) else {
            panic!("it is an answer");
        };
        let fits = whole.len() <= limit;
        assert_eq!(bytes == whole, fits, "{payload:?}");
        let got = Message::parse(&bytes).unwrap();
        assert_eq!(got.header.truncated, !fits);
        assert_eq!(got.questions, asked.questions);
        let query = asked.to_bytes().unwrap();
        let by_tcp = resolver.answer(ip(HERE), Transport::Tcp, &query, &whole);
        assert_eq!(by_tcp, ResolverAnswer::Deliver(whole));
    }
    assert_eq!(resolver.counts().truncated, 3);
}

#[test]
fn what_an_answer_teaches_is_told_to_whoever_follows_names() {
    let (_, resolver) = resolver(&intent());
    let asked = query(Kind::HTTPS, "a.example");
    let service = Svcb {
        priority: 1,
        target: Name::root(),
        params: vec![Param::Ipv6Hint(vec![Ipv6Addr::new(
            0x2001, 0xdb8, 0, 0, 0, 0, 0, 1,
        )])],
    };
    let answer = answer_to(&asked, vec![Data::Https(service)]);
    let [query, bytes] = [&asked, &answer].map(|m| m.to_bytes().unwrap());
    let learned = resolver.learned(&query, &bytes).unwrap();
    assert_eq!(learned.name.as_str(), "a.example");
    assert_eq!(learned.addresses, [ip("2001:db8::1")]);
    assert_eq!(resolver.learned(&query, &query), None);
    assert_eq!(resolver.learned(&[], &bytes), None);
}

#[test]
fn a_chosen_name_gets_an_address_of_each_pool_and_both_mean_the_name() {
    let (_, resolver) = resolver(&with_pools(&["a.example", "*.b.example"]));
    for name in ["a.example", "X.b.example"] {
        let v4 = made(&resolver, &query(Kind::A, name)).unwrap();
        let v6 = made(&resolver, &query(Kind::AAAA, name)).unwrap();
        let any = made(&resolver, &query(Kind::ANY, name)).unwrap();
        assert_eq!(any.answers, [&v4.answers[..], &v6.answers].concat());
        for (record, pool) in any.answers.iter().zip(FakeIp::default_pools()) {
            assert_eq!(
                (record.ttl, record.owner.to_string()),
                (1, format!("{name}."))
            );
            let [address] = record.data.addresses()[..] else {
                panic!("one address");
            };
            assert!(pool.contains(address));
            let fake = format!("fake {}", name.to_ascii_lowercase());
            assert_eq!(meant(&resolver, "192.0.2.9", address), fake);
        }
        assert_eq!(
            made(&resolver, &query(Kind::A, name)).unwrap().answers,
            v4.answers
        );
    }
    for other in ["b.example", "not.example", "www.a.example"] {
        assert_eq!(made(&resolver, &query(Kind::A, other)), None, "{other}");
    }
    assert_eq!(
        made(&resolver, &query(Kind(16), "a.example")),
        None,
        "TXT is forwarded"
    );
}

#[test]
fn no_real_address_slips_by_in_an_https_record() {
    let (_, resolver) = resolver(&with_pools(&["a.example"]));
    for (kind, name) in [
        (Kind::HTTPS, "a.example"),
        (Kind::HTTPS, "_8443._https.a.example"),
        (Kind::SVCB, "_dns.a.example"),
    ] {
        let reply = made(&resolver, &query(kind, name)).unwrap();
        assert_eq!(reply.header.response, ResponseCode::NO_ERROR);
        assert!(reply.answers.is_empty() && reply.additionals.is_empty());
    }
}

#[test]
fn a_family_without_a_pool_has_no_addresses() {
    let mut intent = with_pools(&["a.example"]);
    intent.resolve.fake.as_mut().unwrap().pools.truncate(1);
    let (_, resolver) = resolver(&intent);
    let reply = made(&resolver, &query(Kind::AAAA, "a.example")).unwrap();
    assert_eq!(reply.header.response, ResponseCode::NO_ERROR);
    assert!(reply.answers.is_empty());
    assert_eq!(
        made(&resolver, &query(Kind::A, "a.example"))
            .unwrap()
            .answers
            .len(),
        1
    );
}

#[test]
fn an_address_of_the_pool_without_a_name_is_dead() {
    let (_, resolver) = resolver(&with_pools(&["a.example"]));
    for address in [
        "198.18.0.0",
        "198.18.0.1",
        "198.19.255.255",
        "fd5e:7ee2:0:f8e1::9",
    ] {
        assert_eq!(meant(&resolver, HERE, ip(address)), "dead", "{address}");
    }
    assert_eq!(meant(&resolver, HERE, ip("198.20.0.0")), "unknown");
    assert_eq!(resolver.counts().dead, 4);
}

#[test]
fn a_query_for_the_name_of_an_address_of_the_pool_is_never_forwarded() {
    let (_, resolver) = resolver(&with_pools(&["a.example"]));
    let reply = made(&resolver, &query(Kind::A, "a.example")).unwrap();
    let [IpAddr::V4(address)] = reply.answers[0].data.addresses()[..] else {
        panic!("one address");
    };
    let [a, b, c, d] = address.octets();
    let name = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    let reply = made(&resolver, &query(Kind::PTR, &name)).unwrap();
    assert_eq!(
        reply.answers[0].data,
        Data::Ptr("a.example".parse().unwrap())
    );
    assert!(
        made(&resolver, &query(Kind(16), &name))
            .unwrap()
            .answers
            .is_empty()
    );
    let nobody = made(&resolver, &query(Kind::PTR, "0.0.18.198.in-addr.arpa")).unwrap();
    assert_eq!(nobody.header.response, ResponseCode::NX_DOMAIN);
    assert_eq!(
        made(&resolver, &query(Kind::PTR, "1.2.0.192.in-addr.arpa")),
        None
    );
}

#[test]
fn when_every_address_is_in_use_a_name_fails_rather_than_shares() {
    let mut intent = with_pools(&["*.example"]);
    intent.resolve.fake.as_mut().unwrap().pools = vec!["198.18.0.0/29".parse().unwrap()];
    let (clock, resolver) = resolver(&intent);
    let code = |name: &str| {
        let reply = made(&resolver, &query(Kind::A, name)).unwrap();
        (reply.header.response, reply.answers.len())
    };
    for n in 0..5 {
        assert_eq!(code(&format!("n{n}.example")), (ResponseCode::NO_ERROR, 1));
    }
    assert_eq!(code("more.example"), (ResponseCode::SERV_FAIL, 0));
    assert_eq!(resolver.counts().exhausted, 1);
    clock.pass(Duration::from_secs(600));
    assert_eq!(code("more.example"), (ResponseCode::NO_ERROR, 1));
}

#[test]
fn names_of_the_traffic_are_taken_where_none_are_written_and_excluded_ones_never() {
    let mut intent = with_pools(&[]);
    intent.traffic.include.domains = vec!["*.example".parse().unwrap()];
    intent.traffic.exclude.domains = vec!["x.example".parse().unwrap()];
    let (_, some) = resolver(&intent);
    let is_made = |resolver: &Resolver, name| made(resolver, &query(Kind::A, name)).is_some();
    assert!(is_made(&some, "a.example"));
    assert!(!is_made(&some, "x.example") && !is_made(&some, "a.test"));
    intent.traffic.include.domains = Vec::new();
    let (_, every) = resolver(&intent);
    assert!(is_made(&every, "a.test") && !is_made(&every, "x.example"));
    assert!(!is_made(&every, "localhost"));
}

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
