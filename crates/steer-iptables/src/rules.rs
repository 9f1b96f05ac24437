//! Scope and traffic as rules: what every netfilter method shares.

use steer_core::address::{Cidr, Family, PortRange, Protocol};
use steer_core::intent::{Dns, Filter, Intent, Loopback, Scope, Traffic};
use steer_core::ruleset::{Rule, Test, Verdict};
use steer_core::symbol::CgroupRef;

/// The rule that every chain of ours begins with.
pub(crate) fn bypass(intent: &Intent) -> Rule {
    Rule::new(
        [Test::Marked(intent.bypass)],
        Verdict::Return,
        "the engine's own connections",
    )
}

/// The rules that send the scope's packets to `chain`; those of `except` come first and return.
pub(crate) fn scope(scope: &Scope, chain: &str) -> Vec<Rule> {
    let Scope {
        command,
        of,
        except,
    } = scope;
    let left_out = "left out by scope.except";
    let mut rules = Vec::new();
    let path = |path: &String| Test::Cgroup(CgroupRef::Path(path.clone()));
    for cgroup in except.cgroup.iter().map(path) {
        rules.push(Rule::new([cgroup], Verdict::Return, left_out));
    }
    if !except.uid.is_empty() {
        rules.push(Rule::new(
            [Test::Uid(except.uid.clone())],
            Verdict::Return,
            left_out,
        ));
    }
    if !except.gid.is_empty() {
        rules.push(Rule::new(
            [Test::Gid(except.gid.clone())],
            Verdict::Return,
            left_out,
        ));
    }
    let mut common = Vec::new();
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

/// The rules that return what the intent leaves alone, for the given protocols.
pub(crate) fn left_alone(traffic: &Traffic, protocols: &[Protocol]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if traffic.loopback != Some(Loopback::Steer) {
        for family in Family::ALL {
            rules.push(Rule::new(
                [Test::To(vec![family.loopback_net()])],
                Verdict::Return,
                "loopback: skip",
            ));
        }
    }
    if traffic.dns != Some(Dns::Capture) {
        rules.extend(ports(protocols, &[well_known(53)], "dns: leave"));
    }
    let Filter {
        protocols: _,
        ports: excluded,
        cidrs,
        domains: _,
    } = &traffic.exclude;
    for nets in by_family(cidrs) {
        rules.push(Rule::new(
            [Test::To(nets)],
            Verdict::Return,
            "traffic.exclude.cidrs",
        ));
    }
    if !excluded.is_empty() {
        rules.extend(ports(protocols, excluded, "traffic.exclude.ports"));
    }
    rules
}

/// The tests for included destinations of a protocol: one list a family where networks are
/// written, a single one otherwise.
pub(crate) fn included(traffic: &Traffic, protocol: Protocol) -> Vec<Vec<Test>> {
    let Filter {
        protocols: _,
        ports,
        cidrs,
        domains: _,
    } = &traffic.include;
    let mut tests = vec![Test::Protocol(protocol)];
    if !ports.is_empty() {
        tests.push(Test::ToPort(ports.clone()));
    }
    if cidrs.is_empty() {
        return vec![tests];
    }
    by_family(cidrs)
        .map(|nets| {
            std::iter::once(Test::To(nets))
                .chain(tests.iter().cloned())
                .collect()
        })
        .collect()
}

/// Whether a protocol is in the traffic: nothing written means every protocol.
pub(crate) fn meant(traffic: &Traffic, protocol: Protocol) -> bool {
    let within = |list: &[Protocol]| list.contains(&protocol);
    (traffic.include.protocols.is_empty() || within(&traffic.include.protocols))
        && !within(&traffic.exclude.protocols)
}

/// Whether a port is in the traffic, as far as ports are written.
pub(crate) fn port_meant(traffic: &Traffic, port: u16) -> bool {
    let within = |list: &[PortRange]| list.iter().any(|range| range.contains(port));
    (traffic.include.ports.is_empty() || within(&traffic.include.ports))
        && !within(&traffic.exclude.ports)
}

/// A port known to be one.
pub(crate) fn well_known(port: u16) -> PortRange {
    PortRange::one(port).expect("a well-known port is not 0")
}

fn ports<'a>(
    protocols: &'a [Protocol],
    ranges: &'a [PortRange],
    why: &'a str,
) -> impl Iterator<Item = Rule> + 'a {
    protocols.iter().map(move |protocol| {
        Rule::new(
            [Test::Protocol(*protocol), Test::ToPort(ranges.to_vec())],
            Verdict::Return,
            why,
        )
    })
}

/// Networks split by family, families without any left out.
fn by_family(cidrs: &[Cidr]) -> impl Iterator<Item = Vec<Cidr>> + '_ {
    Family::ALL
        .into_iter()
        .map(|family| {
            cidrs
                .iter()
                .copied()
                .filter(|net| net.family() == family)
                .collect::<Vec<_>>()
        })
        .filter(|nets| !nets.is_empty())
}
