//! Marks that bring packets another way: what is chosen gets one, and a policy rule routes by it.

use steer_core::address::{Family, Protocol};
use steer_core::intent::{Intent, OnFailure};
use steer_core::mark::Mark;
use steer_core::object::{Object, PolicyRule, TABLE_ABOVE_PRIORITY};
use steer_core::plan::Plan;
use steer_core::ruleset::{Chain, ChainKind, Hook, Rule, Test, Verdict};
use steer_core::steerer::PlanError;
use steer_core::symbol::{FIRST_TABLE, MarkRef, TableRef};

use super::guard::Known;
use super::traffic::{self, Decision};
use super::way::Way;
use super::{bypass, chain, hooked};
use crate::listeners::Port;
use crate::neighbours;

/// What all marking rules of a plan are made from.
#[derive(Clone, Copy, Debug)]
pub struct Marking<'a> {
    /// What is wanted.
    pub intent: &'a Intent,
    /// Where the packets come by.
    pub way: &'a Way,
    /// Where flows go; they say which protocols are taken.
    pub ports: &'a [Port],
}

impl Marking<'_> {
    /// The interfaces at which packets are routed by their mark.
    pub fn entering(&self) -> Vec<String> {
        match self.way {
            Way::Local => vec![LOOPBACK.to_owned()],
            Way::Forwarded(interfaces) => interfaces.clone(),
            Way::Inbound => Vec::new(),
        }
    }

    /// The rules that look marked packets of a family up in our table, one an interface; `None` is a
    /// rule for any.
    pub fn lookups(&self, family: Family, from: &[Option<String>]) -> Vec<Object> {
        let rule = |interface: &Option<String>| {
            Object::Rule(PolicyRule {
                family,
                mark: STEER,
                interface: interface.clone(),
                table: TableRef::Steer,
            })
        };
        from.iter().map(rule).collect()
    }

    /// The chain that every packet in scope goes through which may begin a flow: `taken` says what
    /// becomes of one that a port takes, behind the mark of its connection.
    pub fn traffic(
        &self,
        decisions: &[Decision],
        taken: impl Fn(Port) -> Option<Verdict>,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (decision, port) in traffic::before_ports(decisions, self.ports) {
            let Decision { tests, why, .. } = decision;
            let Some(port) = port else {
                rules.push(Rule::new(tests.clone(), Verdict::Return, *why));
                continue;
            };
            let known = "its later packets are known by the connection";
            rules.push(Rule::new(tests.clone(), Verdict::Track(STEER), known));
            if let Some(verdict) = taken(port) {
                rules.push(Rule::new(tests.clone(), verdict, *why));
            }
        }
        rules
    }

    /// The rules of the chain where packets enter that are marked on their way out of it.
    pub fn entry(&self) -> Vec<Rule> {
        let entering = self.way.tests();
        let and = |tests: &[Test]| entering.iter().chain(tests).cloned().collect::<Vec<_>>();
        let mut rules = vec![bypass(self.intent)];
        rules.extend(self.beginnings(&entering));
        // A flow that others begin anew from a port that was just in use is not in scope.
        if self.takes(Protocol::Udp) {
            rules.push(Rule::new(
                and(&[Test::Protocol(Protocol::Udp)]),
                Verdict::Return,
                "datagrams of others",
            ));
        }
        // Also those that no program owns any more, and ICMP errors about the flow.
        rules.push(Rule::new(
            and(&[Test::FromOpener, Test::Tracked(STEER)]),
            Verdict::Mark(STEER),
            "packets of connections that were taken",
        ));
        rules
    }

    /// The rules that look at what may begin a flow.
    pub fn beginnings(&self, entering: &[Test]) -> Vec<Rule> {
        let begins = [
            (Protocol::Tcp, Test::Opening, "only connections that begin"),
            (Protocol::Udp, Test::FromOpener, "no answers to others"),
        ];
        let looked_at = begins.into_iter().filter(|(p, ..)| self.takes(*p));
        looked_at
            .map(|(protocol, test, why)| {
                let tests = [Test::Protocol(protocol), test];
                let tests = entering.iter().cloned().chain(tests);
                Rule::new(tests, Verdict::Jump("scope".to_owned()), why)
            })
            .collect()
    }

    /// The chains that keep marked packets from leaving by anything but `device`, `closed` all of
    /// them, else those to made-up addresses.
    ///
    /// The mark says what is meant, not what came of it: rules and routes of others can be put
    /// before ours at any time, and ours can be taken away. Where a packet goes is known only
    /// behind the routing, where nothing can be answered any more.
    pub fn stray(&self, device: &str) -> Vec<Chain> {
        // Others may put the mark of a connection on its answers, which leave for the client.
        let marked = [Test::FromOpener, Test::Marked(STEER)];
        let why = "meant for the engine, and sent elsewhere by a rule or route of others";
        let strays: Vec<Rule> = match self.intent.failure() {
            OnFailure::Closed => vec![Rule::new(marked, Verdict::Drop, why)],
            OnFailure::Open => traffic::pools(self.intent)
                .into_iter()
                .map(|pool| {
                    let tests = marked.iter().cloned().chain([Test::To(pool)]);
                    let why = "a made-up address never leaves this machine";
                    Rule::new(tests, Verdict::Drop, why)
                })
                .collect(),
        };
        if strays.is_empty() {
            return Vec::new();
        }
        let mut rules = vec![bypass(self.intent)];
        let device = Test::Into(vec![device.to_owned()]);
        rules.push(Rule::new(
            [device],
            Verdict::Return,
            "on its way to the engine",
        ));
        rules.extend(strays);
        let (hook, at) = (Hook::Postrouting, FIRST);
        vec![hooked("stray", ChainKind::Route, hook, at, rules)]
    }

    /// What the refusing chains know marked packets by.
    pub fn known(&self) -> Known {
        Known {
            steered: vec![Rule::new(
                [Test::Marked(STEER)],
                Verdict::Return,
                "steered packets",
            )],
            onward: Vec::new(),
            stranded: vec![Rule::new(
                [
                    Test::Protocol(Protocol::Tcp),
                    Test::FromOpener,
                    Test::Tracked(STEER),
                ],
                Verdict::Reset,
                "connections that were steered until the rules for it were gone",
            )],
        }
    }

    /// What the rules of others do with the way of marked packets, as notes, or as the error that one
    /// of them makes under `closed`.
    pub fn others(&self, host: &steer_core::host::Host, plan: &mut Plan) -> Result<(), PlanError> {
        let first = FIRST_TABLE - TABLE_ABOVE_PRIORITY;
        let last = first + u32::from(Mark::SLOTS) - 1;
        let (failure, entering) = (self.intent.failure(), self.entering());
        neighbours::rules(host, failure, (first, last), &entering, plan)
    }

    /// Whether flows of a protocol are taken.
    pub fn takes(&self, protocol: Protocol) -> bool {
        self.ports.iter().any(|port| port.protocol == protocol)
    }
}

/// The marks that a plan's packets can have.
pub fn marks(intent: &Intent) -> Vec<Mark> {
    let mut marks = vec![intent.bypass];
    match intent.steer {
        Some(mark) => marks.push(mark),
        None => marks.extend((0..Mark::SLOTS).map(Mark::slot)),
    }
    marks
}

/// The chains that choose, for those that packets enter by: who is in scope, and what of it is
/// traffic.
pub fn choosing(intent: &Intent, way: &Way, traffic: Vec<Rule>) -> Vec<Chain> {
    vec![
        chain("traffic", traffic),
        chain("scope", super::scope::rules(&intent.scope, way, "traffic")),
    ]
}

/// What marked packets carry.
pub const STEER: MarkRef = MarkRef::Steer;

/// The interface of what this host sends to itself.
pub const LOOPBACK: &str = "lo";

/// One before the usual priority of mangle: among chains of one priority the last registered runs
/// first, so only a lower number is sure to.
pub const FIRST: i32 = -151;
