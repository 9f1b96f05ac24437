//! Rules as the nft program prints them.

use lab::Lab;
use steer_core::address::{Cidr, Family, IdRange, PortRange, Protocol};
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_kernel::nft::NftDriver;

/// What `nft list table` prints between the braces of the chain for these rules.
pub(crate) fn printed(rules: Vec<Rule>) -> Vec<String> {
    printed_at(ChainKind::Nat, Hook::Output, rules)
}

/// The same for a chain of this kind at this hook.
fn printed_at(kind: ChainKind, hook: Hook, rules: Vec<Rule>) -> Vec<String> {
    let ruleset = Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![
            Chain {
                name: "sub".to_owned(),
                base: None,
                rules: Vec::new(),
            },
            Chain {
                name: "rules".to_owned(),
                base: Some(Base {
                    kind,
                    hook,
                    priority: -101,
                }),
                rules,
            },
        ],
    };
    let text = with_sets(&listed(ruleset));
    let rules = text
        .split("chain rules {")
        .nth(1)
        .expect("the chain stands");
    rules
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("type "))
        .skip(1)
        .take_while(|line| *line != "}")
        .map(str::to_owned)
        .collect()
}

/// The text with what a set holds where a rule names it.
fn with_sets(text: &str) -> String {
    let mut whole = text.to_owned();
    let sets = text.split("\tset ").skip(1);
    for (name, set) in sets.filter_map(|set| set.split_once(" {")) {
        let elements = set.split_once("elements = {").expect("no set is empty").1;
        let elements = elements.split('}').next().unwrap_or_default();
        let elements: Vec<&str> = elements.split_whitespace().collect();
        whole = whole.replace(
            &format!("@{name}"),
            &format!("{{ {} }}", elements.join(" ")),
        );
    }
    whole
}

/// What `nft list table` prints for a ruleset.
pub(crate) fn listed(ruleset: Ruleset) -> String {
    let host = Lab::new("nfttext").host("app");
    let netns = Netns::Path(host.namespace_path().to_str().unwrap().to_owned());
    let mut driver = NftDriver::new();
    let table = match ruleset.role {
        Role::Steer => "steer_main",
        Role::Guard => "steer_main_guard",
    };
    driver
        .set(&Change {
            instance: &Instance::new("main").unwrap(),
            netns: &netns,
            from: &[],
            to: &[Object::Nft(ruleset)],
        })
        .unwrap();
    let list = host.program("nft").args(["list", "table", "inet", table]);
    list.run().expect_success()
}

pub(crate) fn print_one(tests: Vec<Test>, verdict: Verdict) -> String {
    let lines = printed(vec![Rule::new(tests, verdict, "w")]);
    let [line] = lines.as_slice() else {
        panic!("one rule was to be printed: {lines:?}");
    };
    uncommented(line)
}

fn uncommented(line: &str) -> String {
    let rule = line.strip_suffix(" comment \"w\"");
    rule.unwrap_or_else(|| panic!("no comment: {line}"))
        .to_owned()
}

/// The same for a chain that steers arriving packets.
pub(crate) fn print_arriving(tests: Vec<Test>, verdict: Verdict) -> Vec<String> {
    print_at(Hook::Prerouting, tests, verdict)
}

/// The same for a chain of packets that leave.
pub(crate) fn print_leaving(tests: Vec<Test>, verdict: Verdict) -> Vec<String> {
    print_at(Hook::Postrouting, tests, verdict)
}

fn print_at(hook: Hook, tests: Vec<Test>, verdict: Verdict) -> Vec<String> {
    let lines = printed_at(ChainKind::Route, hook, vec![Rule::new(tests, verdict, "w")]);
    lines.iter().map(|line| uncommented(line)).collect()
}

pub(crate) fn test(test: Test) -> String {
    print_one(vec![test], Verdict::Return)
}

pub(crate) fn nets(list: &[&str]) -> Test {
    Test::To(list.iter().map(|n| n.parse::<Cidr>().unwrap()).collect())
}

pub(crate) fn ports(protocol: Protocol, list: &[&str]) -> Vec<Test> {
    let ranges = list.iter().map(|p| p.parse::<PortRange>().unwrap());
    vec![Test::Protocol(protocol), Test::ToPort(ranges.collect())]
}

pub(crate) fn ids(list: &[&str]) -> Vec<IdRange> {
    list.iter().map(|id| id.parse().unwrap()).collect()
}
