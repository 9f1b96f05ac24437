//! Messages that no resolver and no program should send.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::{DnsQuery, DnsReply, End, Failure, Family, Kind, Pattern, Record, Transport};
use steer_tests::{Mount, Rig, Setup, Stage};

use super::dns::{capture, dig};

/// Whatever arrives before it, the program gets the one answer to its question.
pub(crate) fn spoofed_and_broken_answers_are_not_delivered(mount: Mount) {
    let stage = Stage::new("spoofed");
    let at = stage.at(Family::V4, 53);
    let (true_ip, wrong_ip): (IpAddr, IpAddr) = ([192, 0, 2, 7].into(), [192, 0, 2, 66].into());
    let _server = stage.srv.serve_dns(at, move |query, _| {
        let wrong = [Record::address(wrong_ip, 60)];
        let named = |name: &str| DnsQuery::new(query.id, name, query.kind).answer(&wrong);
        let mut loops = query.answer(&[]);
        // One answer, whose name is a pointer to itself.
        loops[7] = 1;
        let here = u16::try_from(loops.len()).expect("short");
        loops.extend((0xc000 | here).to_be_bytes());
        loops.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
        let mut counted = query.answer(&wrong);
        counted[6..8].copy_from_slice(&[0xff, 0xff]);
        let whole = query.answer(&wrong);
        vec![
            DnsQuery::new(query.id ^ 1, &query.name, query.kind).answer(&wrong),
            named("other.example"),
            DnsQuery::new(query.id, &query.name, Kind::TXT).answer(&wrong),
            query.bytes(),
            loops,
            counted,
            whole[..whole.len() - 3].to_vec(),
            Vec::new(),
            Pattern(1).bytes(300),
            query.answer(&[Record::address(true_ip, 60)]),
        ]
    });
    let rig = Rig::start(&stage.app, mount, &capture(""));
    for id in [0, 7, 0xffff] {
        let socket = rig.udp(Family::V4);
        let query = DnsQuery::new(id, "www.a.example", Kind::A);
        let (answer, from) = socket
            .ask(at, &query.bytes())
            .expect("there is a true answer");
        let reply = DnsReply::parse(&answer).expect("an answer");
        assert_eq!((reply.id, reply.addresses(), from), (id, vec![true_ip], at));
    }
    assert_eq!(
        rig.finish().iter().filter(|it| it["app"] != "dns").count(),
        0
    );
}

/// A name of the outside that leads to this very host is not believed (DNS rebinding).
pub(crate) fn answers_that_point_at_loopback_are_not_followed(mount: Mount) {
    let stage = Stage::new("rebind");
    let at = stage.at(Family::V4, 53);
    let _server = stage.srv.serve_dns(at, |query, _| {
        let all = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ];
        let all = all.map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let of = all.into_iter().filter(|ip| Kind::of(*ip) == query.kind);
        vec![query.answer(&of.map(|ip| Record::address(ip, 60)).collect::<Vec<_>>())]
    });
    let rig = Rig::start(&stage.app, mount, &capture(""));
    for kind in [Kind::A, Kind::AAAA] {
        let query = DnsQuery::new(5, "rebind.example", kind);
        let (answer, _) = rig
            .udp(Family::V4)
            .ask(at, &query.bytes())
            .expect("an answer");
        let reply = DnsReply::parse(&answer).expect("an answer");
        assert_eq!((reply.id, reply.addresses()), (5, Vec::new()), "{kind:?}");
    }
}

/// Made-up addresses are made up here, and nowhere else.
pub(crate) fn answers_that_point_into_the_pools_are_not_followed(mount: Mount) {
    let stage = Stage::new("intopool");
    let at = stage.at(Family::V4, 53);
    let true_ip: IpAddr = [192, 0, 2, 7].into();
    let _server = stage.srv.serve_dns(at, move |query, _| {
        let own: IpAddr = match query.kind {
            Kind::A => [198, 18, 0, 5].into(),
            _ => "fd5e:7ee2:0:f8e1::5".parse().expect("an address"),
        };
        let good = query.name.starts_with("good") && query.kind == Kind::A;
        vec![query.answer(&[Record::address(if good { true_ip } else { own }, 60)])]
    });
    let setup = Setup {
        traffic: "{ dns: capture, include: { domains: [\"*.chosen.example\"] } }".to_owned(),
        ..Setup::policy(format!("dns: {{ resolver: \"{at}\", fake_ip: true }}\n"))
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    let ask = |name: &str, kind| {
        let query = DnsQuery::new(5, name, kind);
        let (answer, _) = rig
            .udp(Family::V4)
            .ask(at, &query.bytes())
            .expect("an answer");
        DnsReply::parse(&answer).expect("an answer").addresses()
    };
    assert_eq!(ask("evil.example", Kind::A), Vec::<IpAddr>::new());
    assert_eq!(ask("evil.example", Kind::AAAA), Vec::<IpAddr>::new());
    assert_eq!(ask("good.example", Kind::A), vec![true_ip]);
}

/// An answer of any size reaches a program only as large as the program takes it.
pub(crate) fn oversized_answers_are_cut(mount: Mount) {
    lab::require!(Program("dig"));
    let stage = Stage::new("oversized");
    let at = stage.at(Family::V4, 53);
    let _server = stage.srv.serve_dns(at, |query, over| {
        let length = match over {
            Transport::Udp => 8_000,
            Transport::Tcp => 60_000,
        };
        vec![query.answer(&[Record::text(&vec![b'x'; length], 60)])]
    });
    let rig = Rig::start(&stage.app, mount, &capture(""));
    let query = DnsQuery::new(5, "big.example", Kind::TXT);
    let (answer, _) = rig
        .udp(Family::V4)
        .ask(at, &query.bytes())
        .expect("an answer");
    let reply = DnsReply::parse(&answer).expect("an answer");
    // RFC 1035, section 4.2.1: whoever says nothing takes 512 bytes.
    assert!(
        answer.len() <= 512 && reply.is_truncated,
        "{} bytes",
        answer.len()
    );
    let said = dig(&rig, at.ip(), &["big.example", "TXT"]);
    assert_eq!(said.matches('x').count(), 60_000);
}

pub(crate) fn garbage_for_dns_stops_nobody(mount: Mount) {
    lab::require!(Program("dig"));
    let stage = Stage::new("garbledns");
    let at = stage.at(Family::V4, 53);
    let ip: IpAddr = "192.0.2.7".parse().expect("an address");
    let _server = stage.srv.serve_dns(at, move |query, _| {
        vec![query.answer(&[Record::address(ip, 60)])]
    });
    let rig = Rig::start(&stage.app, mount, &capture(""));
    let query = DnsQuery::new(9, "www.a.example", Kind::A).bytes();
    let mut garbage = vec![
        Vec::new(),
        vec![0],
        query[..11].to_vec(),
        query[..query.len() - 1].to_vec(),
    ];
    // A name that points at itself, and one that is told a thousand times.
    garbage.push([&query[..12], &[0xc0, 12, 0, 1, 0, 1]].concat());
    garbage.push([&query[..4], &[3, 0xe8][..], &query[6..]].concat());
    garbage.push([&query[..12], &[63].repeat(400)].concat());
    // An answer where a question is due.
    garbage.push(DnsQuery::new(9, "www.a.example", Kind::A).error(0));
    garbage.extend((0..8).map(|seed| Pattern(seed).bytes(9_000)));
    for bytes in &garbage {
        rig.udp(Family::V4).send_to(at, bytes).expect("it is sent");
        let mut client = rig.connect(at).expect("TCP too");
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        // It may be closed at once.
        let _ = client.send(&[&length, &bytes[..]].concat());
        client.finish();
        client.patience(Duration::from_secs(15));
        assert!(
            matches!(client.receive_all().1, End::Fin | End::Reset),
            "{bytes:?}"
        );
        for over in ["+notcp", "+tcp"] {
            assert_eq!(
                dig(&rig, at.ip(), &[over, "www.a.example", "A"]),
                "192.0.2.7\n"
            );
        }
    }
    assert!(rig.proc().is_running());
}

/// New flows without end: memory is bounded, and whoever has a flow keeps it.
pub(crate) fn a_flood_of_flows_is_bounded(mount: Mount) {
    const FLOOD: u16 = 20_000;
    let stage = Stage::new("flood");
    let server = stage.srv.serve_udp(7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let to = stage.at(Family::V4, 7);
    let old = rig.udp(Family::V4);
    old.ask(to, b"before").expect("it is echoed");
    let before = resident(rig.proc().pid());
    // To a port that nobody serves and that never answers: each datagram is a new flow.
    let sink = stage.lab.host("sink");
    stage.lab.link(&stage.app, &sink);
    sink.program("nft")
        .args(["-f", "-"])
        .input(
            "table inet t { chain c { type filter hook input priority 0; \
             udp dport 1-65535 drop; }; }\n",
        )
        .run()
        .expect_success();
    let flood = rig.udp(Family::V4);
    for port in 1..=FLOOD {
        let at = SocketAddr::new(sink.address(Family::V4), port);
        match flood.send_to(at, b"another flow") {
            Ok(()) | Err(Failure::Refused | Failure::Other(_) | Failure::Unreachable) => {}
            Err(failure) => panic!("{at}: {failure:?}"),
        }
    }
    lab::eventually("the old flow goes on", || {
        old.ask(to, b"after").is_ok().then_some(())
    });
    assert!(server.seen().len() >= 2);
    let grown = resident(rig.proc().pid()).saturating_sub(before);
    assert!(grown < 300 << 20, "{} MiB for {FLOOD} flows", grown >> 20);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", rig.proc().pid()));
    let descriptors = descriptors.expect("it runs").count();
    assert!(descriptors < 20_000, "{descriptors} descriptors");
    let said = rig.proc().stderr();
    assert!(
        said.lines().count() < 200,
        "a log of {} lines",
        said.lines().count()
    );
}

/// The memory that a process has, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("a running process has memory").trim();
    let kib: u64 = words.trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
