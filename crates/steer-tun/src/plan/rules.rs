//! The rules that mark what is chosen, and the routes by which it gets to the device.

use steer_core::address::Family;
use steer_core::intent::{Intent, OnFailure};
use steer_core::object::{Device, Layer, Leads, Object, Route};
use steer_core::plan::{Life, Plan};
use steer_core::ruleset::{Chain, ChainKind, Hook, Rule, Test, Verdict};
use steer_core::symbol::TableRef;

use steer_rules::rules::guard::Known;
use steer_rules::rules::hooked;
use steer_rules::rules::marking::{self, FIRST, Marking, STEER};
use steer_rules::rules::traffic::{self, Decision};
use steer_rules::rules::way::{self, Way};

use super::devices;

/// What all rules of a plan are made from.
pub(super) struct Rules<'a> {
    pub(super) intent: &'a Intent,
    pub(super) marking: Marking<'a>,
    pub(super) layer: Layer,
    pub(super) families: &'a [Family],
}

impl Rules<'_> {
    /// Adds what leads marked packets to the device, and under `closed` nowhere once it is gone.
    pub(super) fn routes(&self, plan: &mut Plan) {
        let Self {
            intent,
            marking,
            layer,
            families,
        } = self;
        let route = |family: Family, to: Leads| {
            Object::Route(Route {
                family,
                net: None,
                table: TableRef::Steer,
                to,
            })
        };
        let entering: Vec<_> = marking.entering().into_iter().map(Some).collect();
        for family in families.iter().copied() {
            let to = devices::leads(intent, *layer, family);
            plan.push(Life::Steer, route(family, to));
            if intent.failure() == OnFailure::Closed {
                plan.push(Life::Guard, route(family, Leads::Nowhere));
            }
            for lookup in marking.lookups(family, &entering) {
                plan.push(Life::Support, lookup);
            }
        }
    }

    /// The chains that mark.
    pub(super) fn steer(&self, decisions: &[Decision]) -> Vec<Chain> {
        let Self {
            intent, marking, ..
        } = self;
        let mut traffic = marking.traffic(decisions, |_| Some(Verdict::Mark(STEER)));
        traffic.extend(self.echo_requests());
        let mut entry = marking.entry();
        let entering = marking.way.tests();
        // Behind the first rule, which leaves the engine's own packets alone.
        let asks = self.echoes().map(|echo| {
            let tests = entering.iter().cloned().chain([echo]);
            let why = "device.echo: what ping sends";
            Rule::new(tests, Verdict::Jump("scope".to_owned()), why)
        });
        entry.splice(1..1, asks);
        let mut chains = marking::choosing(intent, marking.way, traffic);
        let hook = marking.way.entry();
        chains.push(hooked("entry", ChainKind::Route, hook, FIRST, entry));
        chains.push(hooked(
            "stale",
            ChainKind::Route,
            Hook::Prerouting,
            FIRST,
            vec![self.stale()],
        ));
        chains
    }

    /// What the refusing chains know: marked packets pass on their way to the device, whoever made
    /// them.
    pub(super) fn known(&self) -> Known {
        let known = self.marking.known();
        Known {
            onward: known.steered.clone(),
            ..known
        }
    }

    /// The chains that keep marked packets from going anywhere but to the device.
    pub(super) fn stray(&self) -> Vec<Chain> {
        self.marking.stray(&self.device())
    }

    /// The device that clients are at.
    pub(super) fn device(&self) -> String {
        Device::name_of(&self.intent.instance, self.layer)
    }

    /// Answers to flows that conntrack has forgotten are lost, as behind any other translation: they
    /// would begin a flow of the server's, and what the client then sends would be its answer and
    /// no longer in scope.
    fn stale(&self) -> Rule {
        let from = Test::From(vec![self.device()]);
        let udp = Test::Protocol(steer_core::address::Protocol::Udp);
        let why = "an answer that would begin a flow";
        Rule::new([from, udp, Test::FromOpener], Verdict::Drop, why)
    }

    /// A test for the echo requests of each family, where they are asked for.
    fn echoes(&self) -> impl Iterator<Item = Test> {
        let asked = self.intent.link.echo.is_some();
        let families = self.families.iter().copied().filter(move |_| asked);
        families.map(Test::Echo)
    }

    /// The rules that mark them, to whatever addresses are meant; they have no ports.
    fn echo_requests(&self) -> Vec<Rule> {
        let meant = traffic::destinations(self.intent);
        let rules = self.echoes().flat_map(|echo| {
            meant.iter().filter_map(move |tests| {
                let alone = Rule::new(tests.clone(), Verdict::Return, "");
                let asked = Rule::new([echo.clone()], Verdict::Return, "");
                let apart = alone.family().is_some() && alone.family() != asked.family();
                let tests = tests.iter().cloned().chain([echo.clone()]);
                let why = "device.echo: to the engine";
                (!apart).then(|| Rule::new(tests, Verdict::Mark(STEER), why))
            })
        });
        rules.collect()
    }
}

/// What cannot get to a device: the routes to this host's own addresses come before all others, and
/// what is for many, or for one link, has no single answerer.
pub(super) fn beyond() -> Vec<Decision> {
    let mut beyond = way::to_many();
    for decision in &mut beyond {
        // Nor are echo requests to them.
        decision
            .tests
            .retain(|test| !matches!(test, Test::Protocol(_)));
    }
    beyond.push(way::to_link());
    beyond
}

/// What goes no further than this host, before whatever would choose it.
pub(super) fn to_this_host() -> Decision {
    Decision::new(
        [Test::ToThisHost],
        traffic::Fate::Pass,
        "this host's own addresses are reached by no device",
    )
}

/// The places where packets of a way are marked.
pub(super) fn places(way: &Way) -> Vec<(ChainKind, Hook, i32)> {
    vec![(ChainKind::Route, way.entry(), FIRST)]
}
