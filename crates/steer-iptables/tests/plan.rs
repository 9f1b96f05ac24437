//! What has no plan, and what a plan says of its surroundings.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use steer_core::address::{Family, Protocol};
use steer_core::host::{Host, MarkBits, MarkUse, Namespace, Neighbour, Presence};
use steer_core::instance::Instance;
use steer_core::intent::{Backend, Dns, FakeIp, Intent, OnFailure, Scope, Selector, Source};
use steer_core::key::Key;
use steer_core::mark::Mark;
use steer_core::object::{IptablesVariant, Object};
use steer_core::ruleset::{ChainKind, Hook, Role};
use steer_core::steerer::{PlanError, Steerer};
use steer_iptables::{Redirect, Tproxy};

const METHODS: [&dyn Steerer; 2] = [&Redirect, &Tproxy];

fn intent(scope: Scope) -> Intent {
    Intent::new(Instance::new("demo").unwrap(), scope)
}

fn of(selector: Selector) -> Intent {
    intent(Scope {
        of: selector,
        ..Scope::default()
    })
}

fn whole_host() -> Intent {
    of(Selector {
        host: true,
        ..Selector::default()
    })
}

fn interface(name: &str) -> Intent {
    of(Selector {
        interface: vec![name.to_owned()],
        ..Selector::default()
    })
}

/// Both methods refuse with an error that holds the words.
fn both_refuse(intent: &Intent, host: &Host, words: &[&str]) {
    for method in METHODS {
        let error = method.plan(intent, host).unwrap_err();
        let said = format!("{error}\n{}", error.help());
        for word in words {
            assert!(said.contains(word), "{}: {said}", method.method());
        }
    }
}

#[test]
fn keys_that_a_method_has_no_way_for_are_named() {
    let mut wish = whole_host();
    wish.traffic.include.protocols = vec![Protocol::Udp];
    wish.source = Some(Source::Client);
    wish.steer = Some(Mark::STEER);
    let error = Redirect.plan(&wish, &Host::example()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the method redirect cannot honour traffic.include.protocols: udp, mark.steer, \
         source: client"
    );
    Tproxy.plan(&wish, &Host::example()).unwrap();
}

#[test]
fn an_empty_scope_is_an_error() {
    let empty = intent(Scope::default());
    for method in METHODS {
        let error = method.plan(&empty, &Host::example()).unwrap_err();
        assert_eq!(error, PlanError::EmptyScope);
    }
}

#[test]
fn nothing_to_steer_is_an_error() {
    let mut nothing = whole_host();
    nothing.traffic.exclude.protocols = vec![Protocol::Tcp, Protocol::Udp];
    both_refuse(&nothing, &Host::example(), &["nothing is left"]);
}

#[test]
fn senders_and_arriving_packets_cannot_stand_together() {
    let host = Host::example();
    let both = of(Selector {
        interface: vec!["eth1".into()],
        uid: vec!["5".parse().unwrap()],
        ..Selector::default()
    });
    both_refuse(&both, &host, &["scope.uid, scope.interface cannot stand"]);
    let both = of(Selector {
        interface: vec!["eth1".into()],
        inbound: true,
        ..Selector::default()
    });
    both_refuse(&both, &host, &["scope.interface, scope.inbound"]);
    let mut except = of(Selector {
        inbound: true,
        ..Selector::default()
    });
    except.scope.except.gid = vec!["5".parse().unwrap()];
    both_refuse(&except, &host, &["scope.gid, scope.inbound"]);
    let mut elsewhere = intent(Scope::command());
    elsewhere.scope.of.netns = Some("web".to_owned());
    both_refuse(&elsewhere, &host, &["run -- COMMAND, scope.netns"]);
    let mut queries = of(Selector {
        inbound: true,
        ..Selector::default()
    });
    queries.traffic.dns = Some(Dns::Capture);
    both_refuse(&queries, &host, &["scope.inbound, traffic.dns: capture"]);
}

#[test]
fn what_needs_captured_dns_says_so() {
    let host = Host::example();
    let mut below = whole_host();
    below.traffic.include.domains = vec!["*.example.com".parse().unwrap()];
    both_refuse(
        &below,
        &host,
        &["include.domains", "dns: capture", "fake_ip"],
    );
    let mut resolver = whole_host();
    resolver.resolve.resolver = Some("192.0.2.1:53".parse().unwrap());
    both_refuse(&resolver, &host, &["dns.resolver needs", "dns: capture"]);
}

#[test]
fn a_host_that_lacks_something_gets_the_remedy() {
    let command = intent(Scope::command());
    let mut host = Host::example();
    host.net_admin = Presence::Absent("uid 1000 has no capability".into());
    both_refuse(&command, &host, &["CAP_NET_ADMIN", "sudo"]);

    let host = Host::example();
    both_refuse(&interface("eth7"), &host, &["eth7", "ip -br link"]);
    let elsewhere = |name: &str| {
        of(Selector {
            netns: Some(name.to_owned()),
            ..Selector::default()
        })
    };
    both_refuse(&elsewhere("api"), &host, &["namespace api", "podman ps"]);
    let mut host = Host::example();
    let gone = Namespace::Absent("no process 77".to_owned());
    host.netns.insert("77".to_owned(), gone);
    both_refuse(&elsewhere("77"), &host, &["no process 77"]);

    let mut host = Host::example();
    host.tproxy.nft = Presence::Absent("nft_tproxy is not built".into());
    Redirect.plan(&command, &host).unwrap();
    let error = Tproxy.plan(&command, &host).unwrap_err();
    assert!(error.help().contains("modprobe nft_tproxy"), "{error}");
    let mut over_iptables = command;
    over_iptables.backend = Some(Backend::Iptables);
    Tproxy.plan(&over_iptables, &host).unwrap();
}

#[test]
fn the_rules_go_to_the_filter_that_is_there() {
    let shown = |intent: &Intent, host: &Host| {
        METHODS.map(|method| method.plan(intent, host).unwrap().to_string())
    };
    let mut host = Host::example();
    host.nft = Presence::Absent("the kernel has none".into());
    for plan in shown(&whole_host(), &host) {
        assert!(plan.contains("iptables-nft chains"), "{plan}");
    }
    host.iptables = [(IptablesVariant::Legacy, Presence::Present)].into();
    for backend in [None, Some(Backend::Iptables)] {
        let mut intent = whole_host();
        intent.backend = backend;
        for plan in shown(&intent, &host) {
            assert!(plan.contains("iptables-legacy chains"), "{plan}");
        }
    }
    host.iptables.clear();
    both_refuse(&whole_host(), &host, &["nf_tables", "--backend iptables"]);
}

#[test]
fn ipv6_that_cannot_be_listened_for_is_refused() {
    let host = Host {
        families: vec![Family::V4],
        ..Host::example()
    };
    for method in METHODS {
        let plan = method.plan(&intent(Scope::command()), &host).unwrap();
        let guard = plan
            .objects
            .iter()
            .find_map(|planned| match &planned.object {
                Object::Nft(rules) if rules.role == Role::Guard => Some(rules),
                _ => None,
            });
        assert_eq!(guard.unwrap().families, Family::ALL);
        assert!(plan.to_string().contains("IPv6 is refused"), "{plan}");
    }
}

#[test]
fn a_mark_of_others_that_clashes_is_named_with_a_free_one() {
    let mut host = Host::example();
    let by = "nft table inet foo, chain bar".to_owned();
    let theirs = |value, mask| MarkBits { value, mask };
    host.neighbours = vec![Neighbour::Mark {
        usage: MarkUse::Tested,
        mark: theirs(0x8000_0000, 0xf000_0000),
        by: by.clone(),
    }];
    Redirect.plan(&whole_host(), &host).unwrap();
    let error = Tproxy.plan(&whole_host(), &host).unwrap_err();
    assert!(error.to_string().contains(&by), "{error}");
    let help = error.help();
    let free = help.split("steer: ").nth(1).unwrap();
    let (value, _) = free.split_once('/').unwrap();
    let value = u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap();
    let mut mended = whole_host();
    mended.steer = Some(Mark { value, mask: value });
    Tproxy.plan(&mended, &host).unwrap();

    host.neighbours = vec![Neighbour::Mark {
        usage: MarkUse::Tested,
        mark: theirs(0x1000_0000, 0xffff_ffff),
        by,
    }];
    both_refuse(&whole_host(), &host, &["bypass", "0x10000000/0xffffffff"]);
    // Those that are known live beside us.
    for (value, mask) in [
        (0x539, u32::MAX),
        (0x2023, u32::MAX),
        (0x8_0000, 0xff_0000),
        (0x6d6f_6c65, u32::MAX),
        (0x800_0000, 0x800_0000),
        (0x200, 0xf00),
    ] {
        host.neighbours = vec![Neighbour::Mark {
            usage: MarkUse::Tested,
            mark: theirs(value, mask),
            by: "a neighbour".to_owned(),
        }];
        for method in METHODS {
            method.plan(&whole_host(), &host).unwrap();
        }
    }
}

#[test]
fn a_mark_of_others_that_overwrites_ours_is_named() {
    let by = "nft table inet foo, chain bar";
    for (usage, mask, named) in [
        (MarkUse::Set, u32::MAX, true),
        (MarkUse::Set, 0xff, false),
        (MarkUse::Tested, u32::MAX, false),
    ] {
        let mut host = Host::example();
        host.neighbours = vec![Neighbour::Mark {
            usage,
            mark: MarkBits { value: 5, mask },
            by: by.to_owned(),
        }];
        for method in METHODS {
            let plan = method.plan(&whole_host(), &host).unwrap();
            let told = plan.notes.iter().any(|note| note.starts_with(by));
            assert_eq!(told, named, "{} {usage:?} {mask:#x}", method.method());
        }
    }
}

#[test]
fn what_has_no_listener_is_told_as_the_packet_filter_does_it() {
    let host = Host::example();
    let mut gateway = interface("eth1");
    gateway.on_failure = Some(OnFailure::Open);
    for (backend, word) in [
        (Backend::Nft, "begin go direct"),
        (Backend::Iptables, "drops"),
    ] {
        gateway.backend = Some(backend);
        let plan = Tproxy.plan(&gateway, &host).unwrap().to_string();
        let told = plan.lines().find(|line| line.contains("nobody listens"));
        assert!(told.unwrap().contains(word), "{plan}");
    }
}

#[test]
fn a_rule_of_others_before_ours_is_an_error_where_it_takes_what_must_not_leave() {
    let rule = |priority, by: &str| Neighbour::Rule {
        family: Family::V4,
        priority,
        by: by.to_owned(),
    };
    let mut host = Host::example();
    host.neighbours = vec![
        rule(0, "0: from all lookup local"),
        rule(1501, "1501: from all fwmark 0x1/0x1 lookup 7"),
        rule(
            1000,
            "1000: not from all fwmark 0xca6c/0xffffffff lookup 51820",
        ),
        rule(1001, "1001: from all iif eth7 lookup 8"),
        rule(1002, "1002: from all … lookup main"),
        rule(32766, "32766: from all lookup main"),
    ];
    let mut closed = whole_host();
    closed.on_failure = Some(OnFailure::Closed);
    let plan = Tproxy.plan(&closed, &host).unwrap().to_string();
    assert!(plan.contains("`1501: from all fwmark"), "{plan}");
    assert!(!plan.contains("stands before ours"), "{plan}");
    for before in ["900: from all lookup 99", "900: from all iif lo lookup 99"] {
        let mut host = host.clone();
        host.neighbours.push(rule(900, before));
        let plan = Tproxy.plan(&whole_host(), &host).unwrap().to_string();
        assert!(plan.contains("900: from all"), "{plan}");
        assert!(plan.contains("stands before ours"), "{plan}");
        let error = Tproxy.plan(&closed, &host).unwrap_err();
        assert!(error.to_string().contains(before), "{error}");
        assert!(error.help().contains("ip rule add"), "{}", error.help());
        Redirect.plan(&closed, &host).unwrap();
    }
    for before in ["900: from all lookup main", "900: from all prohibit"] {
        let mut host = host.clone();
        host.neighbours.push(rule(900, before));
        let error = Tproxy.plan(&whole_host(), &host).unwrap_err();
        assert!(error.to_string().contains(before), "{error}");
        assert!(error.help().contains("ip rule add"), "{}", error.help());
        Redirect.plan(&whole_host(), &host).unwrap();
    }
}

#[test]
fn a_chain_of_others_at_our_place_is_named() {
    let mut host = Host::example();
    let chain = |kind, priority, by: &str| Neighbour::Chain {
        kind,
        hook: Hook::Output,
        priority,
        by: by.to_owned(),
    };
    host.neighbours = vec![
        chain(ChainKind::Nat, -101, "table a"),
        chain(ChainKind::Route, -151, "table b"),
        chain(ChainKind::Filter, 0, "table c"),
    ];
    for (method, named) in METHODS.iter().zip(["table a", "table b"]) {
        let plan = method.plan(&whole_host(), &host).unwrap();
        let about: Vec<_> = plan.notes.iter().filter(|n| n.contains("table")).collect();
        assert_eq!(about.len(), 1, "{about:?}");
        assert!(about[0].starts_with(named), "{about:?}");
    }
}

#[test]
fn marks_that_count_at_the_source_are_told_and_refused_where_they_matter() {
    let mut host = Host::example();
    host.interfaces[2].src_valid_mark = true;
    let mut gateway = interface("eth1");
    let plan = Tproxy.plan(&gateway, &host).unwrap().to_string();
    assert!(plan.contains("src_valid_mark=1 at eth1"), "{plan}");
    gateway.source = Some(Source::Client);
    let error = Tproxy.plan(&gateway, &host).unwrap_err();
    assert!(error.to_string().contains("src_valid_mark"), "{error}");
    assert!(error.help().contains("sysctl"), "{}", error.help());
}

#[test]
fn a_resolver_of_this_host_is_told_to_ask_outside_the_scope() {
    let host = Host {
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..Host::example()
    };
    let mut command = intent(Scope::command());
    command.traffic.dns = Some(Dns::Capture);
    for method in METHODS {
        let plan = method.plan(&command, &host).unwrap().to_string();
        assert!(plan.contains("the resolver at 127.0.0.53 asks"), "{plan}");
    }
}

#[test]
fn while_draining_only_flows_that_were_taken_are_steered() {
    let mut intent = whole_host();
    intent.on_failure = Some(OnFailure::Open);
    let plan = Tproxy.plan(&intent, &Host::example()).unwrap();
    let steer = plan.objects.iter().find_map(|p| match &p.object {
        Object::Nft(rules) if rules.role == Role::Steer => Some(rules.retired()),
        _ => None,
    });
    let retired = steer.unwrap().to_string();
    assert!(!retired.contains("opening"), "{retired}");
    assert!(
        retired.contains("from the opener connection mark {mark} -> mark {mark}"),
        "{retired}"
    );
    assert!(
        retired.contains("from lo from the opener mark {mark} tcp -> tproxy"),
        "{retired}"
    );
    assert!(plan.wants_slot());
    assert!(!plan.notes.iter().any(|note| note.is_empty()));
    assert!(!METHODS[0].profile().keys.contains(&Key::Mark));
}

#[test]
fn a_resolver_of_this_host_must_not_get_made_up_addresses() {
    let host = Host {
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..Host::example()
    };
    let mut wish = whole_host();
    wish.traffic.dns = Some(Dns::Capture);
    let notes =
        |wish: &Intent| METHODS.map(|method| method.plan(wish, &host).unwrap().notes.join("\n"));
    for notes in notes(&wish) {
        assert!(
            notes.contains("127.0.0.53") && notes.contains("twice"),
            "{notes}"
        );
    }
    wish.resolve.fake = Some(FakeIp {
        pools: FakeIp::default_pools(),
        names: Vec::new(),
        except: Vec::new(),
        file: None,
    });
    both_refuse(&wish, &host, &["dns.fake_ip", "`dns.resolver`"]);
    let users = Intent {
        scope: Scope {
            except: Selector {
                uid: vec!["101".parse().unwrap()],
                ..Selector::default()
            },
            ..wish.scope.clone()
        },
        ..wish.clone()
    };
    for notes in notes(&users) {
        assert!(notes.contains("must be outside the scope"), "{notes}");
    }
    wish.resolve.resolver = Some("192.0.2.53:53".parse().unwrap());
    for notes in notes(&wish) {
        assert!(!notes.contains("on behalf"), "{notes}");
    }
}
