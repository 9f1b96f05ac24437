//! Made-up addresses.

use super::*;

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
fn a_flood_of_names_takes_the_pool_and_no_more() {
    let (_, resolver) = resolver(&with_pools(&["*.example"]));
    let ask = |number: u32| {
        let query = query(Kind::A, &format!("n{number}.example"));
        let bytes = query.to_bytes().unwrap();
        match resolver.query(ip(HERE), Transport::Udp, &bytes) {
            Query::Answer(answer) => Message::parse(&answer).unwrap().answers.len(),
            other => panic!("{other:?}"),
        }
    };
    // 198.18.0.0/15 without its edges.
    let places = (1 << 17) - 3;
    let given: usize = (0..places + 500).map(ask).sum();
    assert_eq!(u32::try_from(given).unwrap(), places);
    assert_eq!(resolver.counts().exhausted, 500);
    assert_eq!(ask(0), 1, "who has one keeps it");
}
