//! Answers of others: which are believed, and what is remembered of them.

use super::*;

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
fn a_flood_of_clients_makes_the_oldest_answers_forgotten() {
    let mut intent = intent();
    intent.scope.of.interface = vec!["eth1".to_owned()];
    let (_, resolver) = resolver(&intent);
    let client = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
    let flood = 70_000;
    for number in 0..flood {
        told(&resolver, &client(number), "a.example", &["192.0.2.1"]);
    }
    let known = |number| meant(&resolver, &client(number), ip("192.0.2.1")) == "a.example";
    let remembered = (0..flood).filter(|number| known(*number)).count();
    assert_eq!(remembered, 65_536);
    assert!(known(flood - 1) && !known(0));
}
