use std::net::IpAddr;

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Intent, OnFailure, Quic};
use steer_core::method::Method;
use steer_core::object::Binding;
use steer_core::plan::{Life, Plan};
use steer_core::ruleset::{Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::steerer::PlanError;

use crate::backend::Filter;
use crate::listeners::{self, Port};
use crate::rules::gate::{self, At};
use crate::rules::guard::{self, Known};
use crate::rules::traffic::{self, Decision};
use crate::rules::way::Way;
use crate::rules::{REFUSE_AT, bypass, chain, hooked, scope};
use crate::{neighbours, notes, place};

/// The plan of an intent that was admitted.
pub(super) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    let way = Way::of(intent)?;
    traffic::check(intent)?;
    neighbours::check(host, intent, &[intent.bypass])?;
    let ports = listeners::ports(intent, &way, STEERS);
    if ports.is_empty() {
        return Err(PlanError::Nothing {
            why: "redirect steers TCP, and TCP is excluded".to_owned(),
        });
    }
    let filter = Filter::of(intent, host);
    let quic = quic(intent);
    let decisions = traffic::decisions(intent, &way, quic, Vec::new());
    let at = at(host, &way);
    let families = match at {
        At::Loopback(_) => listeners::usable(host),
        At::Anywhere => listeners::refusable(host),
    };
    let address = |family: &Family| match at {
        At::Loopback(_) => family.loopback(),
        At::Anywhere => listeners::anywhere(*family),
    };
    let addresses: Vec<IpAddr> = families.iter().map(address).collect();
    let rules = Rules {
        intent,
        way: &way,
        ports: &ports,
        families: families.clone(),
        at,
    };

    let mut plan = Plan::new(Method::Redirect);
    for object in listeners::objects(intent, Method::Redirect, &ports, &addresses, Binding::Own) {
        plan.push(Life::Steer, object);
    }
    place::command(intent, &mut plan);
    if intent.failure() == OnFailure::Closed {
        let guard = Ruleset {
            role: Role::Guard,
            families: listeners::refusable(host),
            chains: guard::closed(intent, &way, &decisions, &rules.known()),
        };
        plan.push(Life::Guard, filter.object(guard));
    }
    let mut chains = rules.steer(&decisions);
    chains.extend(guard::always(
        intent,
        &way,
        &decisions,
        &rules.known().steered,
    ));
    let steer = Ruleset {
        role: Role::Steer,
        families,
        chains,
    };
    plan.push(Life::Steer, filter.object(steer));

    notes::choices(intent, &way, quic, &mut plan);
    not_steered(intent, &way, &mut plan);
    notes::families(intent, host, &mut plan);
    notes::dns(intent, host, &way, &mut plan);
    notes::surroundings(host, &way, &mut plan);
    neighbours::notes(host, &HOOKS.map(|h| (ChainKind::Nat, h, FIRST)), &mut plan);
    plan.note("connections that exist at the start are left alone");
    place::within(intent, host, plan)
}

/// Where the listeners can be reached: what a program here sends is rewritten to a loopback
/// address, what arrives to an address of the interface.
fn at(host: &Host, way: &Way) -> At {
    match way {
        Way::Local => At::Loopback(listeners::usable(host)),
        Way::Forwarded(_) | Way::Inbound => At::Anywhere,
    }
}

/// QUIC as written, else rejected: clients then fall back to TCP, which is steered.
fn quic(intent: &Intent) -> Quic {
    intent.traffic.quic.unwrap_or(Quic::Reject)
}

/// What all rules of a plan are made from.
struct Rules<'a> {
    intent: &'a Intent,
    way: &'a Way,
    ports: &'a [Port],
    families: Vec<Family>,
    at: At,
}

impl Rules<'_> {
    /// The chains that bring connections to the engine.
    fn steer(&self, decisions: &[Decision]) -> Vec<Chain> {
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
    fn known(&self) -> Known {
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

fn not_steered(intent: &Intent, way: &Way, plan: &mut Plan) {
    if !traffic::meant(&intent.traffic, Protocol::Udp) {
        return;
    }
    let rest = guard::refuses_the_rest(intent, way);
    plan.note(match (intent.failure(), rest) {
        (OnFailure::Open, _) => "redirect cannot steer UDP and ICMP: they go direct",
        (OnFailure::Closed, true) => {
            "redirect cannot steer UDP and other protocols: they are refused"
        }
        (OnFailure::Closed, false) => {
            "redirect cannot steer UDP: it is refused; other protocols go direct"
        }
    });
}

/// What REDIRECT takes to any destination; of UDP only DNS, which a single port can answer.
const STEERS: &[Protocol] = &[Protocol::Tcp];

/// The hooks of nat that destinations are rewritten in.
const HOOKS: [Hook; 2] = [Hook::Prerouting, Hook::Output];

/// One before the usual priority of nat: among chains of one priority the last registered runs
/// first, so only a lower number is sure to.
const FIRST: i32 = -101;
