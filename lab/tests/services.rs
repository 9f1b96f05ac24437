//! Real resolvers, web servers and containers.

use std::net::{IpAddr, SocketAddr};

use lab::{
    Container, DnsQuery, DnsReply, Family, Kind, Lab, Record, Service, Transport, WebClient,
};

#[test]
fn a_resolver_answers_over_both_transports_and_knows_no_other_names() {
    lab::require!(
        Namespaces,
        Program("ip"),
        Program("dnsmasq"),
        Program("dig")
    );
    let lab = Lab::new("dns");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let addresses = Family::BOTH.map(|family| srv.address(family));
    let resolver = srv.resolve(
        &addresses,
        &[
            "host-record=www.a.example,192.0.2.1,2001:db8::1",
            "cname=alias.a.example,www.a.example",
            "txt-record=a.example,words",
        ],
    );
    for at in addresses {
        let at = format!("@{at}");
        for over in ["+notcp", "+tcp"] {
            let dig = |name: &str, kind: &str| {
                let dig = app.program("dig").args([&at, over, "+short", "+tries=1"]);
                dig.args([name, kind]).run().expect_success()
            };
            assert_eq!(dig("www.a.example", "A"), "192.0.2.1\n");
            assert_eq!(dig("www.a.example", "AAAA"), "2001:db8::1\n");
            assert_eq!(dig("alias.a.example", "A"), "www.a.example.\n192.0.2.1\n");
            assert_eq!(dig("a.example", "TXT"), "\"words\"\n");
            assert_eq!(dig("none.example", "A"), "");
        }
    }
    let asked = resolver.asked();
    let one = format!("A www.a.example {}", app.address(Family::V4));
    assert_eq!(
        asked.iter().filter(|line| **line == one).count(),
        2,
        "{asked:#?}"
    );
}

#[test]
fn a_server_of_the_test_answers_what_the_test_says() {
    lab::require!(Namespaces, Program("ip"), Program("dig"));
    let lab = Lab::new("dnsmade");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let ip: IpAddr = "192.0.2.7".parse().expect("an address");
    for family in Family::BOTH {
        let at = srv.at(family, 53);
        let server = srv.serve_dns(at, move |query, over| match over {
            Transport::Udp if query.name.starts_with("big") => vec![query.truncated()],
            _ => vec![query.answer(&[Record::address(ip, 60)])],
        });
        let dig = |name: &str| {
            let dig = app
                .program("dig")
                .args([&format!("@{}", at.ip()), "+short", "+tries=1"]);
            dig.args([name, "A"]).run().expect_success()
        };
        assert_eq!(dig("www.a.example"), "192.0.2.7\n");
        // Truncated over UDP, so that it is asked again over TCP.
        assert_eq!(dig("big.a.example"), "192.0.2.7\n");
        let query = DnsQuery::new(9, "by.hand", Kind::A);
        let (answer, from) = app.udp(family).ask(at, &query.bytes()).expect("it answers");
        assert_eq!(from, at);
        assert_eq!(
            DnsReply::parse(&answer).map(|it| it.addresses()),
            Some(vec![ip])
        );
        let seen = server.wait_seen(4);
        let over: Vec<_> = seen.iter().map(|(_, over, _)| *over).collect();
        assert_eq!(
            over,
            [
                Transport::Udp,
                Transport::Udp,
                Transport::Tcp,
                Transport::Udp
            ]
        );
        assert_eq!(seen[3].0, query);
        assert_eq!(seen[3].2.ip(), app.address(family));
    }
}

#[test]
fn a_web_client_speaks_quic_and_falls_back_when_it_is_refused() {
    lab::require!(Namespaces, Quic, Program("ip"), Program("nft"));
    let lab = Lab::new("quic");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve_web(443);
    let ask = |family| {
        let asked = WebClient {
            address: srv.address(family),
            port: 443,
            name: "www.a.example",
            path: "/bytes/100000",
        };
        app.web_client(asked).run().expect_success()
    };
    for family in Family::BOTH {
        assert_eq!(ask(family), "h3 200 100000\n");
        let seen = format!("h3 www.a.example /bytes/100000 {}", app.address(family));
        assert_eq!(server.seen().last(), Some(&seen));
    }
    let rules = "table inet t { chain c { type filter hook input priority 0; \
                 udp dport 443 reject; }; }\n";
    srv.program("nft")
        .args(["-f", "-"])
        .input(rules)
        .run()
        .expect_success();
    for family in Family::BOTH {
        let said = ask(family);
        assert!(said.starts_with("h3 failed: "), "{said}");
        assert!(
            !said.contains("Timeout") && said.ends_with("https 200 100000\n"),
            "{said}"
        );
    }
}

#[test]
fn a_container_has_the_network_of_its_host_and_ends_with_its_guard() {
    lab::require!(
        Root,
        Program("ip"),
        Program("podman"),
        Program("runc"),
        Path("/usr/bin/busybox")
    );
    let lab = Lab::new("pod");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve(80, Service::Http);
    let container = Container::start(&app, "pod");
    assert_eq!(container.id().len(), 64);
    for family in Family::BOTH {
        let url = format!("http://{}/hello", SocketAddr::new(srv.address(family), 80));
        let got = container.program(["wget", "-q", "-O", "-", &url]).run();
        assert!(got.expect_success().starts_with("GET /hello HTTP/1.1"));
        let seen = server.wait_for(|seen| !seen.is_empty());
        assert_eq!(
            seen.last().map(|one| one.peer.ip()),
            Some(app.address(family))
        );
    }
    let inside = format!("/proc/{}/ns/net", container.pid());
    let same = [std::path::PathBuf::from(&inside), app.namespace_path()].map(|path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("a namespace").ino()
    });
    assert_eq!(same[0], same[1]);
    drop(container);
    assert!(!std::path::Path::new(&inside).exists());
}
