//! The rules that bring marked packets to transparent sockets.

use steer_core::address::{Family, Protocol};
use steer_core::intent::{Intent, OnFailure, Source};
use steer_core::object::{Leads, Object, Route};
use steer_core::ruleset::{Chain, ChainKind, Hook, Rule, Test, Verdict};
use steer_core::symbol::{MarkRef, TableRef};

use steer_rules::listeners::{Entry, Port};
use steer_rules::rules::gate::{self, At};
use steer_rules::rules::marking::{self, FIRST, LOOPBACK, Marking, STEER};
use steer_rules::rules::traffic::{self, Decision};
use steer_rules::rules::way::Way;
use steer_rules::rules::{REFUSE_AT, bypass, hooked};

/// What all rules of a plan are made from.
pub(super) struct Rules<'a> {
    pub(super) intent: &'a Intent,
    pub(super) way: &'a Way,
    pub(super) ports: &'a [Port],
    pub(super) at: At,
}

impl Rules<'_> {
    /// Whether packets are routed by their mark; those for this host come here by themselves.
    pub(super) fn is_routed(&self) -> bool {
        *self.way != Way::Inbound
    }

    /// The marks that route packets here.
    pub(super) fn marking(&self) -> Marking<'_> {
        let Self {
            intent, way, ports, ..
        } = self;
        Marking { intent, way, ports }
    }

    /// What brings marked packets to this host, whatever their destination.
    pub(super) fn routes(&self, families: &[Family]) -> Vec<Object> {
        let marking = self.marking();
        let from: Vec<Option<String>> = match self.way {
            Way::Inbound => return Vec::new(),
            // Answers to the client's address come from anywhere.
            Way::Forwarded(_) if self.keeps_source() => vec![None],
            Way::Local | Way::Forwarded(_) => marking.entering().into_iter().map(Some).collect(),
        };
        let mut objects = Vec::new();
        for family in families {
            objects.push(Object::Route(Route {
                family: *family,
                net: None,
                table: TableRef::Steer,
                to: Leads::Here,
            }));
            objects.extend(marking.lookups(*family, &from));
        }
        objects
    }

    /// The chains that bring packets to the engine.
    pub(super) fn steer(&self, decisions: &[Decision]) -> Vec<Chain> {
        let Self { intent, way, .. } = self;
        let marking = self.marking();
        let traffic = marking.traffic(decisions, |port| match (way, port.protocol) {
            (Way::Forwarded(_) | Way::Inbound, _) => Some(self.to_engine(port, intent.failure())),
            (Way::Local, Protocol::Udp) => Some(Verdict::Mark(STEER)),
            (Way::Local, Protocol::Tcp) => None,
        });
        let mut chains = marking::choosing(intent, way, traffic);
        let hook = |name, (hook, at), rules| hooked(name, ChainKind::Route, hook, at, rules);
        if **way == Way::Local {
            chains.push(hook("depart", (Hook::Output, FIRST), marking.entry()));
        }
        chains.push(hook("arrive", arrival(way), self.arrive()));
        if self.keeps_source() && matches!(way, Way::Forwarded(_)) {
            chains.push(hook("answers", ANSWERS, self.answers()));
        }
        let stale = self.stale();
        if !stale.is_empty() {
            chains.push(hooked(
                "stale",
                ChainKind::Filter,
                Hook::Output,
                REFUSE_AT,
                stale,
            ));
        }
        let gate = self.gate();
        chains.push(hooked(
            "gate",
            ChainKind::Filter,
            Hook::Input,
            REFUSE_AT,
            gate,
        ));
        chains
    }

    /// What arrives is handed to the engine's sockets.
    fn arrive(&self) -> Vec<Rule> {
        let mut rules = vec![bypass(self.intent)];
        let lo = || Test::From(vec![LOOPBACK.to_owned()]);
        match self.way {
            Way::Local => {
                let known = [lo(), Test::FromOpener, Test::Marked(STEER)];
                rules.extend(self.handing(&known, "marked on its way out"));
            }
            Way::Forwarded(_) => {
                let mut known = self.way.tests();
                known.extend([Test::FromOpener, Test::Tracked(STEER)]);
                rules.extend(self.handing(&known, "of flows that were taken"));
                rules.push(Rule::new(
                    known,
                    Verdict::Mark(STEER),
                    "ICMP errors about flows that were taken",
                ));
                // For flows that conntrack was told not to follow.
                let mut open = self.way.tests();
                open.extend([Test::Protocol(Protocol::Tcp), Test::Transparent]);
                rules.push(Rule::new(
                    open,
                    Verdict::Mark(STEER),
                    "of connections that the engine has",
                ));
                rules.extend(self.marking().beginnings(&self.way.tests()));
            }
            Way::Inbound => {
                let why = "what this host sends to itself";
                rules.push(Rule::new([lo()], Verdict::Return, why));
                let known = [Test::FromOpener, Test::Tracked(STEER)];
                rules.extend(self.handing(&known, "of flows that were taken"));
                rules.extend(self.marking().beginnings(&[Test::ToThisHost]));
            }
        }
        rules
    }

    /// Answers to flows that conntrack has forgotten are lost, as behind any other translation: they
    /// would begin a flow of the server's, and what the client then sends would be its answer and
    /// no longer in scope.
    fn stale(&self) -> Vec<Rule> {
        let mark = self.intent.answer_mark();
        if mark == self.intent.bypass || !self.marking().takes(Protocol::Udp) {
            return Vec::new();
        }
        vec![Rule::new(
            [
                Test::Protocol(Protocol::Udp),
                Test::FromOpener,
                Test::Marked(MarkRef::Fixed(mark)),
            ],
            Verdict::Drop,
            "an answer that would begin a flow",
        )]
    }

    /// What servers answer to the address of a client is for the engine's socket that has it.
    fn answers(&self) -> Vec<Rule> {
        let mut rules = vec![bypass(self.intent)];
        rules.extend(Protocol::ALL.map(|protocol| {
            Rule::new(
                [Test::Protocol(protocol), Test::Transparent],
                Verdict::Mark(STEER),
                "source: client, answers to the engine's connections",
            )
        }));
        rules
    }

    /// The rules that hand packets of taken flows to the ports; DNS is told by its port.
    fn handing(&self, known: &[Test], why: &str) -> Vec<Rule> {
        let (dns, others): (Vec<Port>, Vec<Port>) =
            self.ports.iter().partition(|port| port.entry == Entry::Dns);
        dns.into_iter()
            .chain(others)
            .map(|port| {
                let mut tests = known.to_vec();
                tests.push(Test::Protocol(port.protocol));
                if port.entry == Entry::Dns {
                    tests.push(Test::ToPort(vec![traffic::well_known(53)]));
                }
                // What a flow that was taken still sends goes nowhere else.
                Rule::new(tests, self.to_engine(port, OnFailure::Closed), why)
            })
            .collect()
    }

    fn to_engine(&self, port: Port, dead: OnFailure) -> Verdict {
        Verdict::Tproxy {
            to: port.symbol(),
            mark: STEER,
            dead,
        }
    }

    /// The rules that refuse at once what no socket of the engine takes.
    fn gate(&self) -> Vec<Rule> {
        // Others may put the mark of a connection on its answers (CONNMARK --restore-mark), which
        // are for the client.
        let marked = [Test::FromOpener, Test::Marked(STEER)];
        let and = |test: Test| marked.iter().cloned().chain([test]);
        let gone = "steered to an engine that is gone";
        let mut rules = vec![
            Rule::new(
                and(Test::Transparent),
                Verdict::Return,
                "steered packets, and ICMP errors about them",
            ),
            Rule::new(and(Test::Protocol(Protocol::Tcp)), Verdict::Reset, gone),
            Rule::new(marked.clone(), Verdict::Prohibit, gone),
        ];
        rules.extend(gate::rules(self.ports, &self.at, None));
        rules
    }

    /// The chains that keep marked packets from going anywhere but to the engine.
    pub(super) fn stray(&self) -> Vec<Chain> {
        match self.is_routed() {
            true => self.marking().stray(LOOPBACK),
            false => Vec::new(),
        }
    }

    fn keeps_source(&self) -> bool {
        self.intent.source == Some(Source::Client)
    }
}

/// The places where packets of a way are marked.
pub(super) fn places(way: &Way) -> Vec<(ChainKind, Hook, i32)> {
    let more = match way {
        Way::Local => Some((Hook::Output, FIRST)),
        Way::Forwarded(_) => Some(ANSWERS),
        Way::Inbound => None,
    };
    let places = std::iter::once(arrival(way)).chain(more);
    places
        .map(|(hook, at)| (ChainKind::Route, hook, at))
        .collect()
}

/// Where packets that arrive are handed over.
///
/// What this host sent comes in by the loopback device, and a check of the reverse path (firewalld
/// has one: `fib saddr . mark . iif oif missing drop`) lets it pass there only as long as it has no
/// socket of ours yet. What others sent has to be taken before anybody rewrites it.
fn arrival(way: &Way) -> (Hook, i32) {
    match way {
        Way::Local => (Hook::Prerouting, LATE),
        Way::Forwarded(_) | Way::Inbound => (Hook::Prerouting, FIRST),
    }
}

/// Behind a check of the reverse path, which would look up the mark.
const ANSWERS: (Hook, i32) = (Hook::Prerouting, LATE);

/// Behind everybody's filters and rewriting.
const LATE: i32 = 100;
