use steer_core::intent::OnFailure;

use super::*;

fn rendered(tests: Vec<Test>, verdict: Verdict, family: Family) -> Vec<String> {
    let rule = Rule::new(tests, verdict, "");
    lines(&rule, family, &|c| c.to_uppercase(), &mut |mark| {
        format!("MARK_{:x}", mark.value)
    })
    .unwrap()
}

#[test]
fn each_test_and_verdict_has_its_arguments() {
    let steer = MarkRef::Fixed(Mark::STEER);
    let udp = || Test::Protocol(Protocol::Udp);
    let cases: [(Vec<Test>, Verdict, &[&str]); 15] = [
        (
            vec![
                Test::Protocol(Protocol::Tcp),
                Test::Tracked(steer),
                Test::From(vec!["lo".to_owned(), "eth0.5".to_owned()]),
                Test::ToThisHost,
            ],
            Verdict::Mark(steer),
            &[
                "-p tcp -m tcp -m connmark --mark 0x80000000/0xf0000000 -i \"lo\" \
                 -m addrtype --dst-type LOCAL -j MARK_80000000",
                "-p tcp -m tcp -m connmark --mark 0x80000000/0xf0000000 -i \"eth0.5\" \
                 -m addrtype --dst-type LOCAL -j MARK_80000000",
            ],
        ),
        (
            vec![Test::Opening],
            Verdict::Track(steer),
            &[
                "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j CONNMARK --set-xmark 0x80000000/0xf0000000",
            ],
        ),
        (
            vec![udp(), Test::Transparent],
            Verdict::Tproxy {
                to: PortRef::Fixed(15001),
                mark: steer,
                dead: OnFailure::Closed,
            },
            &[
                "-p udp -m udp -m socket --transparent -j TPROXY --on-port 15001 --on-ip 127.0.0.1 --tproxy-mark 0x80000000/0xf0000000",
            ],
        ),
        (
            vec![
                udp(),
                Test::ToListener(PortRef::Fixed(15002)),
                Test::RewrittenTo(PortRef::Fixed(15002)),
            ],
            Verdict::Redirect(PortRef::Fixed(15001)),
            &[
                "-p udp -m udp --dport 15002 -m conntrack --ctstate DNAT --ctreplsrcport 15002 -j REDIRECT --to-ports 15001",
            ],
        ),
        (
            vec![Test::Family(Family::V4)],
            Verdict::Return,
            &["-j RETURN"],
        ),
        (vec![Test::Family(Family::V6)], Verdict::Return, &[]),
        (
            vec![Test::Protocol(Protocol::Tcp), Test::Opening],
            Verdict::Redirect(PortRef::Fixed(15001)),
            &["-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REDIRECT --to-ports 15001"],
        ),
        (
            vec![Test::To(vec![
                "10.0.0.0/8".parse().unwrap(),
                "192.0.2.1/32".parse().unwrap(),
            ])],
            Verdict::Jump("sub".to_owned()),
            &["-d 10.0.0.0/8 -j SUB", "-d 192.0.2.1/32 -j SUB"],
        ),
        (
            vec![Test::To(vec!["::1/128".parse().unwrap()])],
            Verdict::Return,
            &[],
        ),
        (
            vec![],
            Verdict::Reset,
            &["-p tcp -m tcp -j REJECT --reject-with tcp-reset"],
        ),
        (
            vec![],
            Verdict::Prohibit,
            &["-j REJECT --reject-with icmp-admin-prohibited"],
        ),
        (
            vec![Test::Into(vec!["lo".to_owned()]), Test::ToBroadcast],
            Verdict::Drop,
            &["-o \"lo\" -m addrtype --dst-type BROADCAST -j DROP"],
        ),
        (
            vec![
                Test::Marked(MarkRef::Fixed(Mark::BYPASS)),
                Test::FromOpener,
                Test::Rewritten,
            ],
            Verdict::Return,
            &[
                "-m mark --mark 0x10000000/0x90000000 -m conntrack --ctdir ORIGINAL \
                 -m conntrack --ctstate DNAT -j RETURN",
            ],
        ),
        (
            vec![Test::Protocol(Protocol::Tcp), Test::ToOpener],
            Verdict::Return,
            &["-p tcp -m tcp -m conntrack --ctdir REPLY -j RETURN"],
        ),
        (
            vec![
                Test::Uid(vec!["5".parse().unwrap(), "7-9".parse().unwrap()]),
                Test::Cgroup(CgroupRef::Path("a b/c".to_owned())),
            ],
            Verdict::Return,
            &[
                "-m owner --uid-owner 5 -m cgroup --path \"a b/c\" -j RETURN",
                "-m owner --uid-owner 7-9 -m cgroup --path \"a b/c\" -j RETURN",
            ],
        ),
    ];
    for (tests, verdict, expected) in cases {
        assert_eq!(rendered(tests, verdict, Family::V4), expected);
    }
    let v6 = rendered(vec![Test::ToBroadcast], Verdict::Drop, Family::V6);
    assert_eq!(v6, [""; 0]);
    let v6 = rendered(vec![], Verdict::Prohibit, Family::V6);
    assert_eq!(v6, ["-j REJECT --reject-with icmp6-adm-prohibited"]);
}

#[test]
fn ports_are_split_where_multiport_ends_and_a_range_counts_twice() {
    let ports = |texts: &[&str]| texts.iter().map(|p| p.parse().unwrap()).collect::<Vec<_>>();
    assert_eq!(port_lists(&ports(&["443"])), ["--dport 443"]);
    assert_eq!(port_lists(&ports(&["1-9"])), ["--dport 1:9"]);
    let many: Vec<String> = (1..=8)
        .map(|n| format!("{}-{}", n * 10, n * 10 + 1))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        port_lists(&ports(&many)),
        [
            "-m multiport --dports 10:11,20:21,30:31,40:41,50:51,60:61,70:71",
            "--dport 80:81"
        ]
    );
}

#[test]
fn a_comment_cannot_leave_its_quotes() {
    assert_eq!(comment(""), "");
    assert_eq!(
        comment("it's \"so\" \\ \n-j ACCEPT"),
        "-m comment --comment \"it`s \\\"so\\\" \\\\  -j ACCEPT\" "
    );
}

#[test]
fn a_name_that_stands_for_several_interfaces_is_refused() {
    for name in ["eth+", "", "a b", "sixteen-letters-"] {
        let rule = Rule::new([Test::From(vec![name.to_owned()])], Verdict::Return, "why");
        let error = lines(&rule, Family::V4, &str::to_owned, &mut |_| String::new());
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("no interface can be called {name:?}")),
            "{text}"
        );
    }
}

#[test]
fn a_port_without_a_protocol_is_an_error_that_shows_the_rule() {
    let rule = Rule::new([], Verdict::Redirect(PortRef::Fixed(1)), "why");
    let error = lines(&rule, Family::V4, &str::to_owned, &mut |_| String::new()).unwrap_err();
    assert!(error.to_string().contains("redirect to :1"), "{error}");
}
