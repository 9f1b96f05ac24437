use proptest::prelude::*;
use steer_core::policy::{App, Condition};

use super::requests::{decides, get, paths, to};
use super::*;

/// What the rules say without anything about requests, said as simply as it can be.
fn simply<'a>(rules: &'a [Rule], facts: Facts<'_>) -> Decision<'a> {
    for rule in rules {
        match holds(rule, facts, Asked::Connection) {
            Held::Yes => return Decision::Rule(Some(rule)),
            Held::No => {}
            Held::IfSniffed => return Decision::Sniff,
            Held::IfResolved => return Decision::Resolve,
            Held::IfKnown => return Decision::Unknown(rule),
        }
    }
    Decision::Rule(None)
}

fn conditions() -> impl Strategy<Value = Condition> {
    let maybe = |texts: &'static [&'static str]| {
        proptest::option::of(proptest::sample::select(texts)).prop_map(Vec::from_iter)
    };
    let app = proptest::option::of(proptest::sample::select(vec![
        App::Tls,
        App::Http1,
        App::Opaque,
    ]));
    (
        maybe(&["a.example", "*.example", "b.test"]),
        maybe(&["10.0.0.0/8", "192.0.2.0/24"]),
        maybe(&["80", "443"]),
        app,
    )
        .prop_map(|(host, cidr, port, app)| Condition {
            host: host.iter().map(|text| text.parse().unwrap()).collect(),
            cidr: cidr.iter().map(|text| text.parse().unwrap()).collect(),
            port: port.iter().map(|text| text.parse().unwrap()).collect(),
            app: Vec::from_iter(app),
            ..Condition::default()
        })
}

fn actions() -> impl Strategy<Value = Action> {
    proptest::sample::select(vec![
        Action::Direct,
        Action::Reject,
        Action::Upstream("corp".to_owned()),
    ])
}

fn told() -> impl Strategy<Value = Option<Sniffed>> {
    let app = proptest::sample::select(vec![App::Tls, App::Http1, App::Http2, App::Opaque]);
    let name = proptest::sample::select(vec!["a.example", "b.test", "not a name"]);
    proptest::option::of((name, app).prop_map(|(name, app)| sniffed(name, app)))
}

proptest! {
    #[test]
    fn rules_about_connections_alone_decide_as_if_there_were_no_others(
        rules in proptest::collection::vec((conditions(), actions()), 0..5),
        destination in proptest::sample::select(vec!["a.example:80", "10.0.0.1:80", "192.0.2.1:443"]),
        told in told(),
    ) {
        let named = |(index, (condition, action)): (usize, (Condition, Action))| {
            Rule::new(&index.to_string(), condition, action)
        };
        let rules = Rules(rules.into_iter().enumerate().map(named).collect());
        let destination = to(destination);
        let facts = Facts { sniffed: told.as_ref(), ..facts(&destination) };
        prop_assert_eq!(rules.decide(facts), simply(&rules.0, facts));
        prop_assert_eq!(rules.decide_unseen(facts), simply(&rules.0, facts));
    }

    #[test]
    fn a_request_is_decided_by_the_first_rule_that_names_its_path(
        stops in proptest::collection::vec(proptest::bool::ANY, 1..5),
        path in "(/[ab.%]{1,3}){1,3}",
    ) {
        let rule = |(index, stop): (usize, &bool)| {
            let condition = paths(Condition::default(), &[["/a*", "/b*", "*a", "*"][index % 4]]);
            let action = if *stop { Action::Reject } else { Action::Direct };
            Rule::new(&index.to_string(), condition, action)
        };
        let rules = Rules(stops.iter().enumerate().map(rule).collect());
        let there = to("192.0.2.1:80");
        let request = get(&path);
        let read = steer_core::policy::NormalPath::of(&path);
        let expected = rules.0.iter().find(|rule| {
            let pattern = &rule.condition.request.path[0];
            match &read {
                Some(read) => pattern.matches(read),
                None => rule.action == Action::Reject,
            }
        });
        let said = decides(&rules, facts(&there), &request, None);
        prop_assert_eq!(said, expected.map(|rule| rule.name.as_str()));
    }
}
