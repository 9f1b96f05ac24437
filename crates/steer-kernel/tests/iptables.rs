//! What the iptables driver leaves in the kernel, for both variants of the programs.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::Read;

use lab::{Cgroup, Client, Failure, Host, Lab, Service, Snapshot, require};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::object::{IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{CgroupRef, MarkRef, PortRef};
use steer_kernel::iptables::IptablesDriver;

const VARIANTS: [IptablesVariant; 2] = [IptablesVariant::Nft, IptablesVariant::Legacy];

struct Steering {
    netns: Netns,
    variant: IptablesVariant,
    from: Vec<Object>,
}

impl Steering {
    fn on(host: &Host, variant: IptablesVariant) -> Self {
        let path = host.namespace_path();
        Self {
            netns: Netns::Path(path.to_str().unwrap().to_owned()),
            variant,
            from: Vec::new(),
        }
    }

    fn set(&mut self, to: &[Ruleset]) -> Result<(), DriverError> {
        let object = |rules: &Ruleset| Object::Iptables(rules.clone(), self.variant);
        let to: Vec<Object> = to.iter().map(object).collect();
        IptablesDriver::new().set(&Change {
            instance: &main(),
            netns: &self.netns,
            from: &self.from,
            to: &to,
        })?;
        self.from = to;
        Ok(())
    }
}

fn main() -> Instance {
    Instance::new("main").unwrap()
}

fn base(kind: ChainKind) -> Option<Base> {
    Some(Base {
        kind,
        hook: Hook::Output,
        priority: 0,
    })
}

fn chain(name: &str, base: Option<Base>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base,
        rules,
    }
}

fn ruleset(role: Role, chains: Vec<Chain>) -> Ruleset {
    Ruleset {
        role,
        families: Family::ALL.to_vec(),
        chains,
    }
}

/// Every TCP connection that starts goes to a port, by way of a second chain.
fn redirect(port: u16) -> Ruleset {
    let to = Verdict::Redirect(PortRef::Fixed(port));
    let opening = [Test::Protocol(Protocol::Tcp), Test::Opening];
    ruleset(
        Role::Steer,
        vec![
            chain(
                "send",
                None,
                vec![Rule::new(opening, to, "it's \"steered\"")],
            ),
            chain(
                "out",
                base(ChainKind::Nat),
                vec![Rule::new([], Verdict::Jump("send".to_owned()), "all")],
            ),
        ],
    )
}

fn pair() -> (Host, Host, lab::Server, lab::Server) {
    let lab = Lab::new("ipt");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let there = srv.serve(80, Service::Banner(b"there".to_vec()));
    let here = app.serve(15001, Service::Banner(b"here!".to_vec()));
    (app, srv, here, there)
}

fn greeting(client: Result<Client, Failure>) -> Result<String, Failure> {
    let client = client?;
    let mut hello = [0; 5];
    // A program that ends meanwhile can interrupt a read, which `read_exact` takes up again.
    let read = client.stream().read_exact(&mut hello);
    read.expect("both servers speak first");
    Ok(String::from_utf8(hello.into()).unwrap())
}

fn snapshot(host: &Host, variant: IptablesVariant) -> Snapshot {
    let whole = Snapshot::take(host).of_host_only();
    match variant {
        IptablesVariant::Nft => whole,
        // The kernel keeps a legacy table that was ever used.
        IptablesVariant::Legacy => whole.without_empty_legacy_tables(),
    }
}

fn listing(host: &Host, program: &str, table: &str) -> String {
    host.program(program)
        .args(["-t", table, "-S"])
        .run()
        .expect_success()
}

#[test]
fn both_families_are_redirected_and_the_host_is_left_as_it_was() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let before = snapshot(&app, variant);
        let mut steering = Steering::on(&app, variant);
        for family in [lab::Family::V4, lab::Family::V6] {
            let at = srv.at(family, 80);
            steering.set(&[redirect(15001)]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "here!",
                "{variant} {family:?}"
            );
            steering.set(&[redirect(15001)]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "here!",
                "{variant} {family:?}"
            );
            steering.set(&[]).unwrap();
            assert_eq!(
                greeting(app.connect(at)).unwrap(),
                "there",
                "{variant} {family:?}"
            );
        }
        snapshot(&app, variant).assert_same_as(&before);
    }
}

#[test]
fn ours_comes_first_and_the_rules_of_a_neighbour_stay() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let theirs = [
            "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "ACCEPT",
        ];
        app.program(variant.to_string())
            .args(theirs)
            .run()
            .expect_success();
        let before = snapshot(&app, variant);
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        assert_eq!(
            greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap(),
            "here!"
        );
        steering.set(&[]).unwrap();
        snapshot(&app, variant).assert_same_as(&before);
    }
}

#[test]
fn a_neighbour_who_moves_in_keeps_what_it_made() {
    require!(Root, Program("iptables-nft"));
    let (app, _srv, _here, _there) = pair();
    let mut steering = Steering::on(&app, IptablesVariant::Nft);
    steering.set(&[redirect(15001)]).unwrap();
    let theirs = [
        "-t",
        "nat",
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        "1",
        "-j",
        "ACCEPT",
    ];
    app.program("iptables-nft")
        .args(theirs)
        .run()
        .expect_success();
    steering.set(&[]).unwrap();
    let text = listing(&app, "iptables-nft", "nat");
    assert!(
        text.contains("-A PREROUTING -p tcp -m tcp --dport 1 -j ACCEPT"),
        "{text}"
    );
    assert!(!text.contains("STEER"), "{text}");
}

#[test]
fn retired_rules_let_established_flows_go_on_and_take_no_further_one() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let at = srv.at(lab::Family::V6, 80);
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        let mut live = app.connect(at).unwrap();
        assert_eq!(live.receive(5).unwrap(), b"here!");
        steering.set(&[redirect(15001).retired()]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "there");
        live.send(b"again").unwrap();
        assert_eq!(live.receive(5).unwrap(), b"again", "{variant}");
        steering.set(&[]).unwrap();
    }
}

#[test]
fn what_a_crash_left_is_found_adopted_and_removed() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, _there) = pair();
        let before = snapshot(&app, variant);
        Steering::on(&app, variant).set(&[redirect(15002)]).unwrap();
        // A jump too many, as two starts at once could leave it.
        let jump = [
            "-t",
            "nat",
            "-I",
            "OUTPUT",
            "-m",
            "comment",
            "--comment",
            "steer main",
            "-j",
            "STEER_main_OUT",
        ];
        app.program(variant.to_string())
            .args(jump)
            .run()
            .expect_success();

        let mut next = Steering::on(&app, variant);
        next.set(&[redirect(15001)]).unwrap();
        assert_eq!(
            greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap(),
            "here!"
        );
        let text = listing(&app, &variant.to_string(), "nat");
        assert_eq!(text.matches("-A OUTPUT").count(), 1, "{text}");

        let mut cleaner = IptablesDriver::new();
        let found = cleaner.observe(&next.netns).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, format!("{variant} chains STEER_main_*"));
        assert_eq!(found[0].instance, Some(main()));
        cleaner.remove(&found[0]).unwrap();
        cleaner.remove(&found[0]).unwrap();
        assert_eq!(cleaner.observe(&next.netns).unwrap(), []);
        snapshot(&app, variant).assert_same_as(&before);
    }
}

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
                    Rule::new([Test::Transparent], Verdict::Mark(steer), "transparent"),
                    Rule::new([Test::Protocol(Protocol::Udp)], tproxy, "tproxy"),
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
        for (family, ip) in [("iptables", "127.0.0.1"), ("ip6tables", "::1")] {
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
                 -A STEER_main_ARRIVE -i lo -p tcp -m tcp -m comment --comment from -j RETURN\n\
                 -A STEER_main_ARRIVE -i eth0 -p tcp -m tcp -m comment --comment from -j RETURN\n\
                 -A STEER_main_ARRIVE -m addrtype --dst-type LOCAL -m comment --comment here -j RETURN\n\
                 -A STEER_main_ARRIVE -m socket --transparent -m comment --comment transparent -j STEER_main_MARKSLOTA\n\
                 -A STEER_main_ARRIVE -p udp -m udp -m comment --comment tproxy -j TPROXY --on-port 15001 --on-ip {ip} --tproxy-mark 0x80000000/0xf0000000\n\
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

#[test]
fn no_connection_goes_direct_while_rules_are_swapped() {
    require!(Root, Program("iptables-nft"), Program("iptables-legacy"));
    for variant in VARIANTS {
        let (app, srv, _here, there) = pair();
        let mut steering = Steering::on(&app, variant);
        steering.set(&[redirect(15001)]).unwrap();
        let other = app.serve(15002, Service::Banner(b"other".to_vec()));
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                for turn in 0..20 {
                    steering.set(&[redirect(15001 + turn % 2)]).unwrap();
                }
            });
            while !swapping.is_finished() {
                let text = greeting(app.connect(srv.at(lab::Family::V4, 80))).unwrap();
                assert_ne!(text, "there", "{variant}");
            }
        });
        assert!(there.seen().is_empty());
        assert!(!other.seen().is_empty(), "nothing was swapped");
    }
}
