//! Whose packets: the scope as rules that jump.

use steer_core::intent::Scope;
use steer_core::ruleset::{Rule, Test, Verdict};
use steer_core::symbol::CgroupRef;

use super::way::Way;

/// The rules that send the scope's packets to `chain`; those of `except` come first and return.
pub fn rules(scope: &Scope, way: &Way, chain: &str) -> Vec<Rule> {
    let Scope {
        command,
        of,
        except,
    } = scope;
    let mut rules = Vec::new();
    let mut leave = |test: Test, why: &str| rules.push(Rule::new([test], Verdict::Return, why));
    if *way == Way::Inbound {
        let own = Test::From(vec!["lo".to_owned()]);
        leave(own, "what this host sends to itself");
    }
    let path = |path: &String| Test::Cgroup(CgroupRef::Path(path.clone()));
    let left_out = "left out by scope.except";
    for cgroup in except.cgroup.iter().map(path) {
        leave(cgroup, left_out);
    }
    if !except.uid.is_empty() {
        leave(Test::Uid(except.uid.clone()), left_out);
    }
    if !except.gid.is_empty() {
        leave(Test::Gid(except.gid.clone()), left_out);
    }
    if !except.interface.is_empty() {
        leave(Test::From(except.interface.clone()), left_out);
    }
    let mut common = way.tests();
    if *command {
        common.push(Test::Cgroup(CgroupRef::Command));
    }
    if !of.uid.is_empty() {
        common.push(Test::Uid(of.uid.clone()));
    }
    if !of.gid.is_empty() {
        common.push(Test::Gid(of.gid.clone()));
    }
    let jump = Verdict::Jump(chain.to_owned());
    if of.cgroup.is_empty() {
        rules.push(Rule::new(common, jump, "the scope"));
    } else {
        for cgroup in of.cgroup.iter().map(path) {
            let tests = std::iter::once(cgroup).chain(common.iter().cloned());
            rules.push(Rule::new(tests, jump.clone(), "the scope"));
        }
    }
    rules
}
