//! The rules inside: what arrives at `lo` goes to the engine, what could not is refused.

use std::net::IpAddr;

use steer_core::address::{Cidr, Family, PortRange, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Intent, Loopback, OnFailure, Quic};
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::MarkRef;

use crate::listeners::Entry;
use crate::network;

/// What all rules of a plan are made from.
pub(crate) struct Rules<'a> {
    pub(crate) intent: &'a Intent,
    pub(crate) families: &'a [Family],
    pub(crate) entries: &'a [Entry],
    /// Resolvers at loopback addresses: they are the host's, and not inside.
    pub(crate) resolvers: Vec<IpAddr>,
}

/// The resolvers at loopback addresses that programs are told to ask, and the one that they ask
/// where they are told none (resolv.conf(5)).
pub(crate) fn local_resolvers(host: &Host, families: &[Family]) -> Vec<IpAddr> {
    let mut told = host.resolvers.clone();
    if told.is_empty() {
        told.extend(families.iter().map(|family| family.loopback()));
    }
    told.retain(|ip| ip.to_canonical().is_loopback());
    told.sort_unstable();
    told.dedup();
    told
}

impl Rules<'_> {
    pub(crate) fn ruleset(&self) -> Ruleset {
        let (arrive, leave) = (self.arrive(), self.leave());
        Ruleset {
            role: Role::Steer,
            families: self.families.to_vec(),
            chains: vec![
                hooked("arrive", ChainKind::Route, Hook::Prerouting, FIRST, arrive),
                hooked("leave", ChainKind::Filter, Hook::Output, FILTER, leave),
            ],
        }
    }

    /// What arrives is handed to the engine's sockets.
    fn arrive(&self) -> Vec<Rule> {
        let mut rules = vec![self.bypass()];
        let own = |family| Test::To(vec![Cidr::host(network::address(family))]);
        rules.extend(self.families.iter().map(|family| {
            let why = "the command's own address";
            Rule::new([own(*family)], Verdict::Return, why)
        }));
        if !self.steers_loopback() {
            rules.extend(
                self.families
                    .iter()
                    .flat_map(|family| self.loopback(*family)),
            );
        }
        for protocol in Protocol::ALL {
            if self.dns() == Entry::Dns {
                let tests = [Test::Protocol(protocol), Test::ToPort(vec![port(53)])];
                let verdict = self.to_engine(Entry::Dns, protocol);
                rules.push(Rule::new(tests, verdict, "dns: capture"));
            }
            let verdict = self.to_engine(Entry::Outbound, protocol);
            let why = "everything else comes to the engine";
            rules.push(Rule::new([Test::Protocol(protocol)], verdict, why));
        }
        rules
    }

    /// Loopback is the command's own, but for resolvers and what is asked for of the host.
    fn loopback(&self, family: Family) -> Vec<Rule> {
        let net = || Test::To(vec![network::loopback(family)]);
        let mut rules = Vec::new();
        let (resolvers, whose) = match self.dns() {
            // Whichever address a program takes for a resolver's.
            Entry::Dns => (vec![network::loopback(family)], "dns: capture"),
            Entry::Outbound => (self.resolvers_of(family), "the host's resolver"),
        };
        let ports = &self.intent.confine.host_loopback;
        if !resolvers.is_empty() || !ports.is_empty() {
            let why = "what has a socket of the command's own";
            rules.push(Rule::new([net(), Test::Ordinary], Verdict::Return, why));
        }
        for protocol in Protocol::ALL {
            if !resolvers.is_empty() {
                let tests = [
                    Test::To(resolvers.clone()),
                    Test::Protocol(protocol),
                    Test::ToPort(vec![port(53)]),
                ];
                let verdict = self.to_engine(self.dns(), protocol);
                rules.push(Rule::new(tests, verdict, whose));
            }
            if !ports.is_empty() {
                let tests = [net(), Test::Protocol(protocol), Test::ToPort(ports.clone())];
                let why = "netns.host_loopback";
                let verdict = self.to_engine(Entry::Outbound, protocol);
                rules.push(Rule::new(tests, verdict, why));
            }
        }
        rules.push(Rule::new(
            [net()],
            Verdict::Return,
            "the command's own loopback",
        ));
        rules
    }

    fn resolvers_of(&self, family: Family) -> Vec<Cidr> {
        let of = self.resolvers.iter();
        of.filter(|ip| Family::of(**ip) == family)
            .map(|ip| Cidr::host(*ip))
            .collect()
    }

    /// What no socket of the engine could take is refused as it is sent: every address is local, and
    /// the kernel would answer a ping to anywhere by itself.
    fn leave(&self) -> Vec<Rule> {
        let mut rules = vec![self.bypass()];
        for family in self.families {
            let own = Cidr::host(network::address(*family));
            let nets = vec![network::loopback(*family), own];
            let why = "the command's own addresses";
            rules.push(Rule::new([Test::To(nets)], Verdict::Return, why));
            let many = Test::To(network::to_many(*family));
            // Nobody is told by ICMP about packets to many.
            let why = "no connection is to many";
            rules.push(Rule::new([many], Verdict::Drop, why));
            if let Some(link) = network::to_link(*family) {
                let why = "addresses of a link mean nothing outside it";
                rules.push(Rule::new([Test::To(vec![link])], Verdict::Prohibit, why));
            }
        }
        if self.intent.traffic.quic == Some(Quic::Reject) {
            let quic = [Test::Protocol(Protocol::Udp), Test::ToPort(vec![port(443)])];
            rules.push(Rule::new(quic, Verdict::Prohibit, "quic: reject"));
        }
        for protocol in Protocol::ALL {
            let why = "on its way to the engine";
            rules.push(Rule::new([Test::Protocol(protocol)], Verdict::Return, why));
        }
        let why = "ICMP and other protocols, which nobody steers";
        rules.push(Rule::new([], Verdict::Prohibit, why));
        rules
    }

    fn bypass(&self) -> Rule {
        let mark = MarkRef::Fixed(self.intent.bypass);
        Rule::new(
            [Test::Marked(mark)],
            Verdict::Return,
            "the engine's own sockets",
        )
    }

    fn to_engine(&self, entry: Entry, protocol: Protocol) -> Verdict {
        Verdict::Tproxy {
            to: entry.port(protocol),
            // Nobody else is inside: any mark is free.
            mark: MarkRef::Fixed(self.intent.steer.unwrap_or(Mark::STEER)),
            dead: OnFailure::Closed,
        }
    }

    fn steers_loopback(&self) -> bool {
        self.intent.traffic.loopback == Some(Loopback::Steer)
    }

    /// Where queries go.
    fn dns(&self) -> Entry {
        match self.entries.contains(&Entry::Dns) {
            true => Entry::Dns,
            false => Entry::Outbound,
        }
    }
}

fn hooked(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: Some(Base {
            kind,
            hook,
            priority,
        }),
        rules,
    }
}

fn port(port: u16) -> PortRange {
    PortRange::one(port).expect("a port that is not 0 is one")
}

/// One before the usual priority of mangle.
const FIRST: i32 = -151;

/// The usual priority of filters.
const FILTER: i32 = 0;
