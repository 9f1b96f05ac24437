//! The rules that rewrite destinations to the engine's ports.

use steer_core::address::{Family, Protocol};
use steer_core::intent::Intent;
use steer_core::ruleset::{Chain, ChainKind, Hook, Rule, Test, Verdict};

use steer_rules::listeners::Port;
use steer_rules::rules::gate::{self, At};
use steer_rules::rules::guard::Known;
use steer_rules::rules::traffic::{self, Decision};
use steer_rules::rules::way::Way;
use steer_rules::rules::{REFUSE_AT, bypass, chain, hooked, scope};

/// What all rules of a plan are made from.
pub(super) struct Rules<'a> {
    pub(super) intent: &'a Intent,
    pub(super) way: &'a Way,
    pub(super) ports: &'a [Port],
    pub(super) families: Vec<Family>,
    pub(super) at: At,
}

impl Rules<'_> {
    /// The chains that bring connections to the engine.
    pub(super) fn steer(&self, decisions: &[Decision]) -> Vec<Chain> {
        let Self {
            intent,
            way,
            ports,
            families: _,
            at,
        } = self;
        let traffic = traffic::before_ports(decisions, ports).map(|(decision, port)| {
            let verdict = port.map_or(Verdict::Return, |port| Verdict::Redirect(port.symbol()));
            Rule::new(decision.tests.clone(), verdict, decision.why)
        });
        let mut entry = vec![bypass(intent)];
        if **way == Way::Inbound {
            entry.push(Rule::new(
                [Test::From(vec!["lo".to_owned()])],
                Verdict::Return,
                "what this host sends to itself",
            ));
        }
        let mut opening = self.entering();
        // Connections that conntrack picks up in the middle look new to nat; rewriting them would
        // reset them.
        opening.extend([Test::Protocol(Protocol::Tcp), Test::Opening]);
        let to_scope = || Verdict::Jump("scope".to_owned());
        entry.push(Rule::new(
            opening,
            to_scope(),
            "only connections that begin",
        ));
        if self.takes_datagrams() {
            let mut datagrams = self.entering();
            datagrams.push(Test::Protocol(Protocol::Udp));
            entry.push(Rule::new(datagrams, to_scope(), "datagrams of DNS"));
        }
        let admitted = Some(&Test::Rewritten);
        vec![
            chain("traffic", traffic.collect()),
            chain("scope", scope::rules(&intent.scope, way, "traffic")),
            hooked("entry", ChainKind::Nat, way.entry(), FIRST, entry),
            hooked(
                "gate",
                ChainKind::Filter,
                Hook::Input,
                REFUSE_AT,
                gate::rules(ports, at, admitted),
            ),
        ]
    }

    /// The tests that tell the way's packets from others where they enter.
    fn entering(&self) -> Vec<Test> {
        match self.way {
            Way::Inbound => vec![Test::ToThisHost],
            Way::Local | Way::Forwarded(_) => self.way.tests(),
        }
    }

    fn takes_datagrams(&self) -> bool {
        self.ports.iter().any(|port| port.protocol == Protocol::Udp)
    }

    /// What the guard has to know: at its hooks the destination is one of our ports already, or,
    /// where the rules are gone, the true one again.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::default();
        for port in self.ports {
            let tests = match self.way {
                Way::Local => At::Loopback(self.families.clone()).tests(*port),
                Way::Forwarded(_) | Way::Inbound => At::Anywhere.tests(*port),
            };
            for tests in tests {
                let tests = tests.into_iter().chain([Test::Rewritten]);
                let why = "steered connections";
                known.steered.push(Rule::new(tests, Verdict::Return, why));
            }
            let stranded = [
                Test::Protocol(port.protocol),
                Test::FromOpener,
                Test::RewrittenTo(port.symbol()),
            ];
            known.stranded.push(Rule::new(
                stranded,
                gate::refusal(port.protocol),
                "connections that were steered until the rules for it were gone",
            ));
        }
        known
    }
}

/// The hooks of nat that destinations are rewritten in.
pub(super) const HOOKS: [Hook; 2] = [Hook::Prerouting, Hook::Output];

/// One before the usual priority of nat: among chains of one priority the last registered runs
/// first, so only a lower number is sure to.
pub(super) const FIRST: i32 = -101;
