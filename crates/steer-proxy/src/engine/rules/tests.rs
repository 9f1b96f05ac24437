use steer_core::address::HostName;
use steer_core::policy::{App, Condition};

use super::keys::is_within;
use super::*;

mod random;
mod requests;

fn rule(name: &str, condition: Condition) -> Rule {
    Rule::new(name, condition, Action::Reject)
}

fn facts(destination: &Destination) -> Facts<'_> {
    Facts::at_first(Protocol::Tcp, destination, &NOBODY)
}

/// Somebody of whom nothing is known.
static NOBODY: Identity = Identity {
    pid: None,
    uid: None,
    gid: None,
    exe: None,
    command: None,
    cgroup: None,
    container: None,
};

fn decided<'a>(rules: &'a Rules, facts: Facts<'_>) -> Option<&'a str> {
    match rules.decide(facts) {
        Decision::Rule(rule) => rule.map(|rule| rule.name.as_str()),
        other => panic!("{other:?}"),
    }
}

fn sniffed(host: &str, app: App) -> Sniffed {
    Sniffed {
        app,
        host: HostName::new(host).ok(),
        alpn: Vec::new(),
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = Rules(vec![
        rule(
            "web",
            Condition {
                port: vec!["80".parse().unwrap()],
                ..Condition::default()
            },
        ),
        rule(
            "net",
            Condition {
                cidr: vec!["192.0.2.0/24".parse().unwrap()],
                ..Condition::default()
            },
        ),
        rule(
            "me",
            Condition {
                uid: vec!["1000-1009".parse().unwrap()],
                ..Condition::default()
            },
        ),
    ]);
    let to = |text: &str| text.parse::<Destination>().unwrap();
    assert_eq!(decided(&rules, facts(&to("192.0.2.1:80"))), Some("web"));
    assert_eq!(decided(&rules, facts(&to("192.0.2.1:81"))), Some("net"));
    let stranger = to("198.51.100.1:81");
    assert_eq!(
        rules.decide(facts(&stranger)),
        Decision::Unknown(&rules.0[2]),
        "nothing is guessed"
    );
    let destination = to("198.51.100.1:81");
    let me = Identity {
        uid: Some(1009),
        ..Identity::default()
    };
    assert_eq!(
        decided(
            &rules,
            Facts {
                identity: &me,
                ..facts(&destination)
            }
        ),
        Some("me")
    );
}

#[test]
fn the_first_bytes_are_asked_for_only_where_they_can_change_the_decision() {
    let condition = Condition {
        host: vec!["*.internal".parse().unwrap()],
        port: vec!["443".parse().unwrap()],
        ..Condition::default()
    };
    let rules = Rules(vec![rule("internal", condition)]);
    let other = "192.0.2.1:80".parse().unwrap();
    assert_eq!(decided(&rules, facts(&other)), None);
    let named = "db.internal:443".parse().unwrap();
    assert_eq!(decided(&rules, facts(&named)), Some("internal"));
    let address = "192.0.2.1:443".parse().unwrap();
    assert_eq!(rules.decide(facts(&address)), Decision::Sniff);
    let told = sniffed("db.internal", App::Tls);
    assert_eq!(
        decided(
            &rules,
            Facts {
                sniffed: Some(&told),
                ..facts(&address)
            }
        ),
        Some("internal")
    );
    let told = sniffed("db.example", App::Tls);
    assert_eq!(
        decided(
            &rules,
            Facts {
                sniffed: Some(&told),
                ..facts(&address)
            }
        ),
        None
    );
}

#[test]
fn a_network_rule_holds_for_a_name_that_resolves_into_it() {
    let condition = Condition {
        cidr: vec!["10.0.0.0/8".parse().unwrap()],
        ..Condition::default()
    };
    let rules = Rules(vec![rule("private", condition)]);
    let named = "inside.example:80".parse().unwrap();
    assert_eq!(rules.decide(facts(&named)), Decision::Resolve);
    let addresses = ["192.0.2.1".parse().unwrap(), "10.1.2.3".parse().unwrap()];
    assert_eq!(
        decided(
            &rules,
            Facts {
                addresses: Some(&addresses),
                ..facts(&named)
            }
        ),
        Some("private")
    );
    let elsewhere = ["192.0.2.1".parse().unwrap()];
    assert_eq!(
        decided(
            &rules,
            Facts {
                addresses: Some(&elsewhere),
                ..facts(&named)
            }
        ),
        None
    );
}

#[test]
fn first_bytes_that_cannot_change_the_way_are_not_waited_for() {
    let host = || Condition {
        host: vec!["*.internal".parse().unwrap()],
        ..Condition::default()
    };
    let acting = |condition, action| Rule {
        action,
        ..rule("it", condition)
    };
    let corp = || Action::Upstream("corp".to_owned());
    let to = "192.0.2.1:443".parse().unwrap();
    for (rules, leave_direct) in [
        (vec![(host(), Action::Direct)], true),
        (vec![(host(), Action::Reject)], false),
        (vec![(host(), corp())], false),
        (vec![(host(), Action::Direct), (host(), corp())], false),
        (
            vec![(host(), Action::Direct), (Condition::default(), corp())],
            false,
        ),
        (
            vec![
                (host(), Action::Direct),
                (Condition::default(), Action::Direct),
                (host(), Action::Reject),
            ],
            true,
        ),
    ] {
        let rules = Rules(
            rules
                .into_iter()
                .map(|(condition, action)| acting(condition, action))
                .collect(),
        );
        assert_eq!(rules.leave_direct(facts(&to)), leave_direct, "{rules:?}");
    }
}

#[test]
fn only_rules_that_look_at_addresses_pin_them() {
    let cidr = |text: &str, port: &str| Condition {
        cidr: vec![text.parse().unwrap()],
        port: vec![port.parse().unwrap()],
        ..Condition::default()
    };
    let acting = |name: &str, condition, action| Rule {
        action,
        ..rule(name, condition)
    };
    let rules = Rules(vec![
        acting("lan", cidr("10.0.0.0/8", "1-99"), Action::Direct),
        rule("never", cidr("192.0.2.0/24", "1-9")),
        acting("rest", Condition::default(), Action::Direct),
    ]);
    let pins = |to: &str, index: usize| {
        let to = to.parse().unwrap();
        rules.pins(Some(&rules.0[index]), facts(&to))
    };
    assert!(pins("10.0.0.1:80", 0), "it decided by the address");
    assert!(!pins("198.51.100.1:80", 2), "another one let others pass");
    assert!(pins("198.51.100.1:7", 2), "another one rejects addresses");
    let lan = Some(&rules.0[0]);
    assert!(permits(lan, "10.9.9.9".parse().unwrap()));
    assert!(!permits(lan, "192.0.2.1".parse().unwrap()));
    assert!(permits(None, "192.0.2.1".parse().unwrap()));
}

#[test]
fn the_application_is_matched_once_it_is_known() {
    let rules = Rules(vec![rule(
        "clear",
        Condition {
            app: vec![App::Http1],
            ..Condition::default()
        },
    )]);
    let to = "name.example:80".parse().unwrap();
    assert_eq!(rules.decide(facts(&to)), Decision::Sniff);
    let told = sniffed("name.example", App::Http1);
    assert_eq!(
        decided(
            &rules,
            Facts {
                sniffed: Some(&told),
                ..facts(&to)
            }
        ),
        Some("clear")
    );
}

/// Whether the only rule, with these keys, decides for somebody; `None` where it cannot be told.
fn asks(condition: Condition, identity: &Identity) -> Option<bool> {
    let rules = Rules(vec![rule("it", condition)]);
    let to = "192.0.2.1:80".parse().unwrap();
    match rules.decide(Facts::at_first(Protocol::Tcp, &to, identity)) {
        Decision::Rule(rule) => Some(rule.is_some()),
        Decision::Unknown(_) => None,
        other => panic!("{other:?}"),
    }
}

fn worker() -> Identity {
    Identity {
        pid: Some(7),
        uid: Some(33),
        gid: Some(34),
        exe: Some("/usr/bin/python3.12".into()),
        command: Some("gunicorn".to_owned()),
        cgroup: Some("system.slice/web.service/workers".to_owned()),
        container: None,
    }
}

#[test]
fn a_program_is_known_by_its_group_file_name_and_cgroup() {
    let none = Condition::default;
    let gid = |text: &str| Condition {
        gid: vec![text.parse().unwrap()],
        ..none()
    };
    let exe = |text: &str| Condition {
        exe: vec!["/bin/none".parse().unwrap(), text.parse().unwrap()],
        ..none()
    };
    let command = |text: &str| Condition {
        command: vec!["none".to_owned(), text.to_owned()],
        ..none()
    };
    let cgroup = |text: &str| Condition {
        cgroup: vec!["none.slice".to_owned(), text.to_owned()],
        ..none()
    };
    for (condition, held) in [
        (gid("34"), true),
        (gid("33"), false),
        (exe("/usr/bin/python3.12"), true),
        (exe("/usr/bin/python3"), false),
        (exe("python3*"), true),
        (exe("gunicorn"), false),
        (command("gunicorn"), true),
        (command("gunicor"), false),
        (cgroup("system.slice/web.service/workers"), true),
        (cgroup("system.slice/web.service"), true),
        (cgroup("system.slice"), true),
        (cgroup("web.service"), true),
        (cgroup("workers"), false),
        (cgroup("system.slice/web"), false),
        (cgroup("system.slice/web.service/workers/one"), false),
        (cgroup("user.slice/web.service"), false),
    ] {
        assert_eq!(
            asks(condition.clone(), &worker()),
            Some(held),
            "{condition:?}"
        );
        assert_eq!(asks(condition.clone(), &NOBODY), None, "{condition:?}");
    }
}

#[test]
fn every_key_about_the_program_must_hold() {
    let both = |name: &str| Condition {
        command: vec![name.to_owned()],
        exe: vec!["python3*".parse().unwrap()],
        ..Condition::default()
    };
    assert_eq!(asks(both("gunicorn"), &worker()), Some(true));
    assert_eq!(asks(both("celery"), &worker()), Some(false));
    let half = Identity {
        exe: None,
        ..worker()
    };
    assert_eq!(asks(both("gunicorn"), &half), None);
    // What is known settles it, whatever is not.
    assert_eq!(asks(both("celery"), &half), Some(false));
}

proptest::proptest! {
    #[test]
    fn a_cgroup_is_within_each_one_above_it(parts in proptest::collection::vec("[a-c.]{1,3}", 1..6), above in 1_usize..6) {
        let path = parts.join("/");
        let above = parts[..above.min(parts.len())].join("/");
        proptest::prop_assert!(is_within(&path, &above));
        let rooted = format!("/{path}");
        proptest::prop_assert!(is_within(&rooted, &above));
        let more = format!("{path}x");
        proptest::prop_assert!(!is_within(&path, &more));
    }
}
