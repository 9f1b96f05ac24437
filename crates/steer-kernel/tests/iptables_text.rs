//! Every test and verdict, as both variants of iptables list it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "support/iptables.rs"]
mod support;

use lab::{Cgroup, Lab, require};
use steer_core::address::{Family, Protocol};
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, ChainKind, Hook, Role, Rule, Test, Verdict};
use steer_core::symbol::{CgroupRef, MarkRef, PortRef};
use support::{Steering, VARIANTS, base, chain, listing, ruleset, snapshot};

#[test]
fn every_test_and_verdict_is_accepted_and_listed() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    let cgroup = Cgroup::new("ipt");
    let path = CgroupRef::Path(cgroup.name().to_owned());
    let tcp = || Test::Protocol(Protocol::Tcp);
    let rules = vec![
        Rule::new([Test::Family(Family::V4), tcp()], Verdict::Return, "family"),
        Rule::new([tcp(), Test::Opening], Verdict::Return, "opening"),
        Rule::new(
            [Test::To(vec!["10.0.0.0/8".parse().unwrap()])],
            Verdict::Return,
            "to4",
        ),
        Rule::new(
            [Test::To(vec!["fd00::/8".parse().unwrap()])],
            Verdict::Return,
            "to6",
        ),
        Rule::new(
            [
                tcp(),
                Test::ToPort(vec!["80".parse().unwrap(), "90-99".parse().unwrap()]),
            ],
            Verdict::Return,
            "ports",
        ),
        Rule::new(
            [tcp(), Test::ToListener(PortRef::Fixed(15001))],
            Verdict::Return,
            "listener",
        ),
        Rule::new([Test::Cgroup(path)], Verdict::Return, "cgroup"),
        Rule::new(
            [Test::Uid(vec!["5-9".parse().unwrap()])],
            Verdict::Return,
            "uid",
        ),
        Rule::new(
            [Test::Gid(vec!["5".parse().unwrap()])],
            Verdict::Return,
            "gid",
        ),
        Rule::new(
            [Test::Marked(MarkRef::Fixed(Mark::BYPASS))],
            Verdict::Return,
            "mark",
        ),
        Rule::new([Test::Rewritten], Verdict::Return, "rewritten"),
        Rule::new([tcp()], Verdict::Reset, "reset"),
        Rule::new([], Verdict::Prohibit, "prohibit"),
    ];
    let refuse = ruleset(
        Role::Guard,
        vec![chain("refuse", base(ChainKind::Filter), rules)],
    );
    let cgroup = cgroup.name();
    for variant in VARIANTS {
        let host = Lab::new("ipt").host("app");
        Steering::on(&host, variant)
            .set(std::slice::from_ref(&refuse))
            .unwrap();
        for (family, to, prohibited) in [
            (
                "iptables",
                "-d 10.0.0.0/8 -m comment --comment to4",
                "icmp-admin-prohibited",
            ),
            (
                "ip6tables",
                "-d fd00::/8 -m comment --comment to6",
                "icmp6-adm-prohibited",
            ),
        ] {
            let program = variant.to_string().replace("iptables", family);
            let text = listing(&host, &program, "filter");
            let of_v4 = match family {
                "iptables" => {
                    "-A STEER_main_REFUSE -p tcp -m tcp -m comment --comment family -j RETURN\n"
                }
                _ => "",
            };
            let expected = format!(
                "{of_v4}\
                 -A STEER_main_REFUSE -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment opening -j RETURN\n\
                 -A STEER_main_REFUSE {to} -j RETURN\n\
                 -A STEER_main_REFUSE -p tcp -m tcp -m multiport --dports 80,90:99 -m comment --comment ports -j RETURN\n\
                 -A STEER_main_REFUSE -p tcp -m tcp --dport 15001 -m comment --comment listener -j RETURN\n\
                 -A STEER_main_REFUSE -m cgroup --path {cgroup} -m comment --comment cgroup -j RETURN\n\
                 -A STEER_main_REFUSE -m owner --uid-owner 5-9 -m comment --comment uid -j RETURN\n\
                 -A STEER_main_REFUSE -m owner --gid-owner 5 -m comment --comment gid -j RETURN\n\
                 -A STEER_main_REFUSE -m mark --mark 0x10000000/0x90000000 -m comment --comment mark -j RETURN\n\
                 -A STEER_main_REFUSE -m conntrack --ctstate DNAT -m comment --comment rewritten -j RETURN\n\
                 -A STEER_main_REFUSE -p tcp -m tcp -m comment --comment reset -j REJECT --reject-with tcp-reset\n\
                 -A STEER_main_REFUSE -m comment --comment prohibit -j REJECT --reject-with {prohibited}\n"
            );
            let ours: String = text
                .lines()
                .filter(|line| line.starts_with("-A STEER_main"))
                .map(|line| format!("{}\n", line.replace('"', "")))
                .collect();
            assert_eq!(ours, expected, "{program}");
        }
    }
}

#[test]
fn what_steers_without_rewriting_is_accepted_and_listed() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    let steer = MarkRef::Fixed(Mark::STEER);
    let mangle = |hook| Base {
        kind: ChainKind::Route,
        hook,
        priority: -151,
    };
    let tcp = || Test::Protocol(Protocol::Tcp);
    let tproxy = Verdict::Tproxy {
        to: PortRef::Fixed(15001),
        mark: steer,
        dead: OnFailure::Closed,
    };
    let rules = ruleset(
        Role::Steer,
        vec![
            chain(
                "output",
                Some(mangle(Hook::Output)),
                vec![
                    Rule::new([tcp(), Test::Opening], Verdict::Track(steer), "track"),
                    Rule::new([tcp(), Test::Tracked(steer)], Verdict::Mark(steer), "mark"),
                ],
            ),
            chain(
                "arrive",
                Some(mangle(Hook::Prerouting)),
                vec![
                    Rule::new(
                        [tcp(), Test::From(vec!["lo".to_owned(), "eth0".to_owned()])],
                        Verdict::Return,
                        "from",
                    ),
                    Rule::new([Test::ToThisHost], Verdict::Return, "here"),
                    Rule::new([Test::Echo(Family::V4)], Verdict::Return, "echo"),
                    Rule::new([Test::Echo(Family::V6)], Verdict::Return, "echo"),
                    Rule::new([Test::Transparent], Verdict::Mark(steer), "transparent"),
                    Rule::new([Test::Protocol(Protocol::Udp)], tproxy, "tproxy"),
                ],
            ),
            chain(
                "leave",
                Some(mangle(Hook::Postrouting)),
                vec![
                    Rule::new([Test::Into(vec!["lo".to_owned()])], Verdict::Drop, "into"),
                    Rule::new(
                        [Test::Family(Family::V4), Test::ToBroadcast],
                        Verdict::Drop,
                        "all",
                    ),
                ],
            ),
        ],
    );
    for variant in VARIANTS {
        let host = Lab::new("ipt").host("app");
        let mut steering = Steering::on(&host, variant);
        let before = snapshot(&host, variant);
        steering.set(std::slice::from_ref(&rules)).unwrap();
        // What stands is read back and refilled.
        steering.set(std::slice::from_ref(&rules)).unwrap();
        let everyone = "-A STEER_main_LEAVE -m addrtype --dst-type BROADCAST -m comment --comment all -j DROP\n";
        for (family, ip, everyone, echo) in [
            (
                "iptables",
                "127.0.0.1",
                everyone,
                "-p icmp -m icmp --icmp-type 8",
            ),
            (
                "ip6tables",
                "::1",
                "",
                "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
            ),
        ] {
            let program = variant.to_string().replace("iptables", family);
            let text = listing(&host, &program, "mangle");
            let ours: String = text
                .lines()
                .filter(|line| line.starts_with("-A"))
                .map(|line| format!("{}\n", line.replace('"', "")))
                .collect();
            let expected = format!(
                "-A PREROUTING -m comment --comment steer main -j STEER_main_ARRIVE\n\
                 -A OUTPUT -m comment --comment steer main -j STEER_main_OUTPUT\n\
                 -A POSTROUTING -m comment --comment steer main -j STEER_main_LEAVE\n\
                 -A STEER_main_ARRIVE -i lo -p tcp -m tcp -m comment --comment from -j RETURN\n\
                 -A STEER_main_ARRIVE -i eth0 -p tcp -m tcp -m comment --comment from -j RETURN\n\
                 -A STEER_main_ARRIVE -m addrtype --dst-type LOCAL -m comment --comment here -j RETURN\n\
                 -A STEER_main_ARRIVE {echo} -m comment --comment echo -j RETURN\n\
                 -A STEER_main_ARRIVE -m socket --transparent -m comment --comment transparent -j STEER_main_MARKSLOTA\n\
                 -A STEER_main_ARRIVE -p udp -m udp -m comment --comment tproxy -j TPROXY --on-port 15001 --on-ip {ip} --tproxy-mark 0x80000000/0xf0000000\n\
                 -A STEER_main_LEAVE -o lo -m comment --comment into -j DROP\n\
                 {everyone}\
                 -A STEER_main_MARKSLOTA -j MARK --set-xmark 0x80000000/0xf0000000\n\
                 -A STEER_main_MARKSLOTA -j ACCEPT\n\
                 -A STEER_main_OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment track -j CONNMARK --set-xmark 0x80000000/0xf0000000\n\
                 -A STEER_main_OUTPUT -p tcp -m tcp -m connmark --mark 0x80000000/0xf0000000 -m comment --comment mark -j STEER_main_MARKSLOTA\n"
            );
            assert_eq!(ours, expected, "{program}");
        }
        steering.set(&[]).unwrap();
        snapshot(&host, variant).assert_same_as(&before);
    }
}

#[test]
fn what_iptables_cannot_do_is_told_before_anything_changes() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    let mangle = Base {
        kind: ChainKind::Route,
        hook: Hook::Input,
        priority: 0,
    };
    let rules = ruleset(
        Role::Guard,
        vec![
            chain("first", base(ChainKind::Filter), vec![]),
            chain(
                "second",
                Some(mangle),
                vec![Rule::new([Test::Opening], Verdict::Reset, "w")],
            ),
        ],
    );
    for variant in VARIANTS {
        let host = Lab::new("ipt").host("app");
        let before = snapshot(&host, variant);
        let error = Steering::on(&host, variant)
            .set(std::slice::from_ref(&rules))
            .unwrap_err();
        let cause = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        let expected = "a refusal has no place in the chain INPUT of the table mangle: ";
        assert!(cause.starts_with(expected), "{cause}");
        snapshot(&host, variant).assert_same_as(&before);
    }
}
