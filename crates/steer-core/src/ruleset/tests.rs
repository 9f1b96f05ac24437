use super::*;
use crate::instance::Instance;
use crate::symbol::NameSet;

#[test]
fn names_stand_for_their_addresses_and_a_rule_without_any_is_left_out() {
    let rules = Family::ALL.map(|family| {
        let tests = [Test::ToNames(NameSet::Included, family)];
        Rule::new(tests, Verdict::Return, "a name")
    });
    let ruleset = Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![Chain {
            name: "traffic".to_owned(),
            base: None,
            rules: rules.to_vec(),
        }],
    };
    let mut bindings = Bindings::new(Instance::new("main").unwrap());
    let none = ruleset.resolve(&bindings).unwrap();
    assert_eq!(none.chains[0].rules, []);
    let address = "192.0.2.7".parse().unwrap();
    bindings
        .names
        .insert(NameSet::Included, [address].into_iter().collect());
    let one = ruleset.resolve(&bindings).unwrap();
    let tests: Vec<_> = one.chains[0].rules.iter().map(|r| &r.tests).collect();
    assert_eq!(tests, [&vec![Test::To(vec![Cidr::host(address)])]]);
}

/// What is left of a chain of the kind.
fn left(kind: ChainKind, rules: Vec<Rule>) -> Vec<Rule> {
    left_at(Hook::Prerouting, kind, rules)
}

/// The same at a hook.
fn left_at(hook: Hook, kind: ChainKind, rules: Vec<Rule>) -> Vec<Rule> {
    let ruleset = Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![Chain {
            name: "chain".to_owned(),
            base: Some(Base {
                kind,
                hook,
                priority: -151,
            }),
            rules,
        }],
    };
    let retired = ruleset.retired();
    assert_eq!(retired.chains[0].base, ruleset.chains[0].base);
    retired.chains[0].rules.clone()
}

#[test]
fn retired_chains_that_mark_know_taken_flows_and_nothing_that_begins() {
    let tcp = || Test::Protocol(Protocol::Tcp);
    let tproxy = || Verdict::Tproxy {
        to: PortRef::Fixed(15001),
        mark: MarkRef::Steer,
        dead: OnFailure::Closed,
    };
    let marked = |mark, verdict| Rule::new([Test::Marked(mark)], verdict, "by the mark");
    let stay = [
        marked(MarkRef::Fixed(crate::mark::Mark::BYPASS), Verdict::Return),
        marked(MarkRef::Steer, tproxy()),
        Rule::new(
            [tcp(), Test::FromOpener, Test::Tracked(MarkRef::Steer)],
            Verdict::Mark(MarkRef::Steer),
            "by the mark of the connection",
        ),
        Rule::new(
            [tcp(), Test::Transparent],
            Verdict::Mark(MarkRef::Steer),
            "by the socket",
        ),
    ];
    let go = [
        Rule::new([tcp(), Test::Opening], tproxy(), "begins"),
        Rule::new(
            [Test::Protocol(Protocol::Udp), Test::FromOpener],
            Verdict::Jump("scope".to_owned()),
            "may begin",
        ),
        Rule::new([Test::ToThisHost], Verdict::Return, "asks nothing of marks"),
    ];
    let all = stay
        .iter()
        .zip(&go)
        .flat_map(|(a, b)| [a.clone(), b.clone()]);
    let all: Vec<Rule> = all.chain(stay.last().cloned()).collect();
    assert_eq!(left(ChainKind::Route, all.clone()), stay);
    assert_eq!(left(ChainKind::Filter, all.clone()), all);
    let behind = Hook::Postrouting;
    assert_eq!(left_at(behind, ChainKind::Route, all.clone()), all);
    let nat = left(ChainKind::Nat, all);
    assert_eq!(nat.len(), 1);
    assert_eq!(nat[0].tests, [Test::Rewritten]);
}
