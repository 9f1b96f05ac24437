//! Every test and verdict, as the nft program reads it back from the kernel.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "nft_text/printed.rs"]
mod printed;

use lab::{Cgroup, require};
use printed::{ids, listed, nets, ports, print_arriving, print_leaving, print_one, printed, test};
use steer_core::address::{Family, Protocol};
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{CgroupRef, MarkRef, PortRef};

#[test]
fn families_and_protocols_read_back() {
    require!(Root, Program("nft"));
    assert_eq!(test(Test::Family(Family::V4)), "meta nfproto ipv4 return");
    assert_eq!(test(Test::Family(Family::V6)), "meta nfproto ipv6 return");
    assert_eq!(
        test(Test::Protocol(Protocol::Tcp)),
        "meta l4proto tcp return"
    );
    assert_eq!(
        test(Test::Protocol(Protocol::Udp)),
        "meta l4proto udp return"
    );
    assert_eq!(
        test(Test::Opening),
        "tcp flags syn / fin,syn,rst,ack return"
    );
}

#[test]
fn destinations_read_back_as_networks_ranges_and_sets() {
    require!(Root, Program("nft"));
    let cases: [(&[&str], &str); 12] = [
        (&["10.0.0.0/8"], "ip daddr 10.0.0.0/8 return"),
        (&["10.128.0.0/9"], "ip daddr 10.128.0.0/9 return"),
        (&["192.0.2.0/24"], "ip daddr 192.0.2.0/24 return"),
        (&["10.1.2.3/32"], "ip daddr 10.1.2.3 return"),
        (&["0.0.0.0/0"], "meta nfproto ipv4 return"),
        (
            &["10.0.0.0/8", "192.168.0.0/16", "10.9.0.0/16"],
            "ip daddr { 10.0.0.0/8, 192.168.0.0/16 } return",
        ),
        (
            &["10.0.0.0/8", "11.0.0.0/9"],
            "ip daddr 10.0.0.0-11.127.255.255 return",
        ),
        (
            &["127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"],
            "ip daddr { 127.0.0.0/8, 224.0.0.0/3 } return",
        ),
        (&["::1/128"], "ip6 daddr ::1 return"),
        (&["fe80::/10"], "ip6 daddr fe80::/10 return"),
        (&["2001:db8::/32"], "ip6 daddr 2001:db8::/32 return"),
        (
            &["::1/128", "fd00::/8", "ff00::/8"],
            "ip6 daddr { ::1, fd00::/8, ff00::/8 } return",
        ),
    ];
    for (list, text) in cases {
        assert_eq!(test(nets(list)), text, "{list:?}");
    }
    assert_eq!(test(nets(&["::/0"])), "meta nfproto ipv6 return");
}

#[test]
fn ports_read_back_as_numbers_ranges_and_sets() {
    require!(Root, Program("nft"));
    let printed = |list: &[&str]| print_one(ports(Protocol::Tcp, list), Verdict::Return);
    assert_eq!(printed(&["443"]), "tcp dport 443 return");
    assert_eq!(printed(&["3000-5000"]), "tcp dport 3000-5000 return");
    assert_eq!(
        printed(&["80", "443", "90-100"]),
        "tcp dport { 80, 90-100, 443 } return"
    );
    assert_eq!(
        printed(&["80", "60000-65535"]),
        "tcp dport { 80, 60000-65535 } return"
    );
    let udp = print_one(ports(Protocol::Udp, &["53"]), Verdict::Return);
    assert_eq!(udp, "udp dport 53 return");
    let listener = vec![
        Test::Protocol(Protocol::Tcp),
        Test::ToListener(PortRef::Fixed(15001)),
    ];
    assert_eq!(
        print_one(listener, Verdict::Return),
        "tcp dport 15001 return"
    );
}

#[test]
fn owners_read_back_as_ids_ranges_and_sets() {
    require!(Root, Program("nft"));
    assert_eq!(test(Test::Uid(ids(&["1337"]))), "meta skuid 1337 return");
    assert_eq!(
        test(Test::Uid(ids(&["2000-2999"]))),
        "meta skuid 2000-2999 return"
    );
    assert_eq!(
        test(Test::Uid(ids(&["1000", "2000-2999"]))),
        "meta skuid { 1000, 2000-2999 } return"
    );
    assert_eq!(test(Test::Gid(ids(&["1337"]))), "meta skgid 1337 return");
    assert_eq!(
        test(Test::Gid(ids(&["1000", "2000-2999"]))),
        "meta skgid { 1000, 2000-2999 } return"
    );
}

#[test]
fn marks_and_rewritten_connections_read_back() {
    require!(Root, Program("nft"));
    assert_eq!(
        test(Test::Marked(MarkRef::Fixed(Mark::BYPASS))),
        "meta mark & 0x90000000 == 0x10000000 return"
    );
    let whole = Mark {
        value: 7,
        mask: u32::MAX,
    };
    assert_eq!(
        test(Test::Marked(MarkRef::Fixed(whole))),
        "meta mark 0x00000007 return"
    );
    assert_eq!(test(Test::FromOpener), "ct direction original return");
    assert_eq!(test(Test::ToOpener), "ct direction reply return");
    assert_eq!(test(Test::Rewritten), "ct status dnat return");
    let to_ours = vec![
        Test::Protocol(Protocol::Tcp),
        Test::RewrittenTo(PortRef::Fixed(15001)),
    ];
    assert_eq!(
        print_one(to_ours, Verdict::Return),
        "meta l4proto tcp ct status dnat ct reply proto-src 15001 return"
    );
    let udp = || Test::Protocol(Protocol::Udp);
    let port = || PortRef::Fixed(15001);
    assert_eq!(
        print_one(vec![udp(), Test::RewrittenTo(port())], Verdict::Return),
        "meta l4proto udp ct status dnat ct reply proto-src 15001 return"
    );
    assert_eq!(
        print_one(vec![udp(), Test::FromOpener], Verdict::Redirect(port())),
        "meta l4proto udp ct direction original redirect to :15001"
    );
}

#[test]
fn what_steers_without_rewriting_reads_back() {
    require!(Root, Program("nft"));
    let arriving = |test| print_arriving(vec![test], Verdict::Return).join("\n");
    let steer = MarkRef::Fixed(Mark::STEER);
    // The nft program writes a mask of leading bits as the length of a prefix.
    assert_eq!(
        arriving(Test::Tracked(steer)),
        "ct mark 0x80000000/4 return"
    );
    let from = |names: &[&str]| Test::From(names.iter().map(|&n| n.to_owned()).collect());
    assert_eq!(arriving(from(&["lo"])), "iifname \"lo\" return");
    assert_eq!(
        arriving(from(&["fifteen-letters", "eth0"])),
        "iifname { \"eth0\", \"fifteen-letters\" } return"
    );
    assert_eq!(arriving(from(&[])), "");
    assert_eq!(
        arriving(Test::Echo(Family::V4)),
        "icmp type echo-request return"
    );
    assert_eq!(
        arriving(Test::Echo(Family::V6)),
        "icmpv6 type echo-request return"
    );
    assert_eq!(arriving(Test::ToThisHost), "fib daddr type local return");
    assert_eq!(arriving(Test::Transparent), "socket transparent 1 return");
    assert_eq!(arriving(Test::Ordinary), "socket transparent 0 return");
    assert_eq!(
        print_arriving(vec![], Verdict::Track(steer)),
        ["ct mark set ct mark & 0x8fffffff | 0x80000000"]
    );
    assert_eq!(
        print_arriving(vec![], Verdict::Mark(steer)),
        ["meta mark set meta mark & 0x8fffffff | 0x80000000 accept"]
    );
    let whole = MarkRef::Fixed(Mark {
        value: 7,
        mask: u32::MAX,
    });
    assert_eq!(
        print_arriving(vec![], Verdict::Mark(whole)),
        ["meta mark set 0x00000007 accept"]
    );
}

#[test]
fn what_keeps_packets_from_leaving_reads_back() {
    require!(Root, Program("nft"));
    let into = |names: &[&str]| Test::Into(names.iter().map(|&n| n.to_owned()).collect());
    let leaving = |test| print_leaving(vec![test], Verdict::Drop).join("\n");
    assert_eq!(leaving(into(&["lo"])), "oifname \"lo\" drop");
    assert_eq!(
        leaving(into(&["eth1", "eth0"])),
        "oifname { \"eth0\", \"eth1\" } drop"
    );
    assert_eq!(leaving(into(&[])), "");
    // Only IPv4 has such addresses.
    assert_eq!(
        leaving(Test::ToBroadcast),
        "meta nfproto ipv4 fib daddr type broadcast drop"
    );
    assert_eq!(
        test(Test::ToBroadcast),
        "meta nfproto ipv4 fib daddr type broadcast return"
    );
}

#[test]
fn tproxy_is_a_rule_a_family_and_its_mark_stands_where_a_dead_listener_wants_it() {
    require!(Root, Program("nft"));
    let tproxy = |tests, dead| {
        print_arriving(
            tests,
            Verdict::Tproxy {
                to: PortRef::Fixed(15001),
                mark: MarkRef::Fixed(Mark::STEER),
                dead,
            },
        )
    };
    let udp = || Test::Protocol(Protocol::Udp);
    let mark = "meta mark set meta mark & 0x8fffffff | 0x80000000";
    assert_eq!(
        tproxy(vec![udp()], OnFailure::Closed),
        [
            format!(
                "meta nfproto ipv4 meta l4proto udp {mark} tproxy ip to 127.0.0.1:15001 accept"
            ),
            format!("meta nfproto ipv6 meta l4proto udp {mark} tproxy ip6 to [::1]:15001 accept"),
        ]
    );
    assert_eq!(
        tproxy(vec![udp(), nets(&["::/0"])], OnFailure::Open),
        [format!(
            "meta l4proto udp meta nfproto ipv6 tproxy ip6 to [::1]:15001 {mark} accept"
        )]
    );
}

#[test]
fn chains_that_route_are_of_that_kind_where_the_kernel_has_it() {
    require!(Root, Program("nft"));
    for (hook, kind) in [
        (Hook::Output, "route hook output"),
        (Hook::Prerouting, "filter hook prerouting"),
        (Hook::Input, "filter hook input"),
        (Hook::Postrouting, "filter hook postrouting"),
    ] {
        let text = listed(Ruleset {
            role: Role::Steer,
            families: Family::ALL.to_vec(),
            chains: vec![Chain {
                name: "marks".to_owned(),
                base: Some(Base {
                    kind: ChainKind::Route,
                    hook,
                    priority: -151,
                }),
                rules: vec![],
            }],
        });
        assert!(
            text.contains(&format!("type {kind} priority mangle - 1;")),
            "{text}"
        );
    }
}

#[test]
fn a_cgroup_is_matched_by_its_depth_and_id() {
    require!(Root, Program("nft"));
    let cgroup = Cgroup::new("nfttext");
    let path = CgroupRef::Path(cgroup.name().to_owned());
    let text = test(Test::Cgroup(path));
    let id = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(cgroup.path()).unwrap());
    // The nft program prints the path where it finds it under /sys/fs/cgroup, else the id.
    let by_id = format!("socket cgroupv2 level 1 {id} return");
    let by_path = format!("socket cgroupv2 level 1 \"{}\" return", cgroup.name());
    let by_mount = format!(
        "socket cgroupv2 level 1 \"unified/{}\" return",
        cgroup.name()
    );
    assert!([by_id, by_path, by_mount].contains(&text), "{text}");
}

#[test]
fn verdicts_read_back() {
    require!(Root, Program("nft"));
    assert_eq!(print_one(vec![], Verdict::Return), "return");
    assert_eq!(
        print_one(vec![], Verdict::Jump("sub".to_owned())),
        "jump sub"
    );
    assert_eq!(
        print_one(
            vec![Test::Protocol(Protocol::Tcp)],
            Verdict::Redirect(PortRef::Fixed(15001))
        ),
        "meta l4proto tcp redirect to :15001"
    );
}

#[test]
fn tests_of_one_rule_all_bind_and_share_what_they_need() {
    require!(Root, Program("nft"));
    let tests = vec![
        Test::Family(Family::V4),
        Test::Protocol(Protocol::Tcp),
        Test::Opening,
        nets(&["10.0.0.0/8"]),
        Test::ToPort(vec!["443".parse().unwrap()]),
        Test::Uid(ids(&["1000"])),
    ];
    assert_eq!(
        print_one(tests, Verdict::Return),
        "tcp flags syn / fin,syn,rst,ack ip daddr 10.0.0.0/8 tcp dport 443 meta skuid 1000 return"
    );
}

#[test]
fn a_rule_whose_list_is_empty_never_holds_and_is_left_out() {
    require!(Root, Program("nft"));
    let never = |test| Rule::new([Test::Protocol(Protocol::Tcp), test], Verdict::Return, "w");
    let rules = vec![
        never(Test::To(vec![])),
        never(Test::ToPort(vec![])),
        never(Test::Uid(vec![])),
        never(Test::Gid(vec![])),
    ];
    assert_eq!(printed(rules), Vec::<String>::new());
}

#[test]
fn a_table_tells_who_made_it_what_refuses_and_why() {
    require!(Root, Program("nft"));
    let why = "the \"quoted\" reason, ".repeat(9);
    let rules = vec![
        Rule::new([Test::Protocol(Protocol::Tcp)], Verdict::Reset, why.clone()),
        Rule::new([], Verdict::Prohibit, "other protocols"),
    ];
    let text = listed(Ruleset {
        role: Role::Guard,
        families: vec![Family::V6],
        chains: vec![Chain {
            name: "refuse".to_owned(),
            base: Some(Base {
                kind: ChainKind::Filter,
                hook: Hook::Output,
                priority: 0,
            }),
            rules,
        }],
    });
    let why = why.replace('"', "'")[..127].to_owned();
    // The nft program leaves out tests that it can tell from others of the rule.
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "table inet steer_main_guard {{\n\
         \tcomment \"steer {version} main guard\"\n\
         \tchain refuse {{\n\
         \t\ttype filter hook output priority filter; policy accept;\n\
         \t\tmeta l4proto tcp reject with tcp reset comment \"{why}\"\n\
         \t\tmeta nfproto ipv6 reject with icmpx admin-prohibited comment \"other protocols\"\n\
         \t}}\n}}\n"
    );
    assert_eq!(text, expected);
}
