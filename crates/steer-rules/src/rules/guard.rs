//! The refusal of what is in scope and not steered.

use steer_core::address::Protocol;
use steer_core::intent::{Dns, Intent};
use steer_core::ruleset::{Chain, ChainKind, Hook, Rule, Test, Verdict};

use super::gate::refusal;
use super::traffic::{self, Decision, Fate, is_everything, well_known};
use super::way::{Way, chooses_sockets};
use super::{REFUSE_AT, bypass, chain, hooked, scope};

/// What a method tells of its own packets where others are refused.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Rules that let steered packets pass.
    pub steered: Vec<Rule>,
    /// The same where packets are forwarded: none where what is steered ends at this host.
    pub onward: Vec<Rule>,
    /// Rules that refuse what was steered until the rules for it were gone; no socket needs to be
    /// left that would tell whose it was.
    pub stranded: Vec<Rule>,
}

/// The chains that refuse what is in scope and not steered, for `on_failure: closed`.
pub fn closed(intent: &Intent, way: &Way, decisions: &[Decision], known: &Known) -> Vec<Chain> {
    let mut refuse = pools(intent);
    for decision in decisions {
        let Decision { tests, fate, why } = decision;
        let and = |test: &Test| tests.iter().chain([test]).cloned().collect::<Vec<_>>();
        match (fate, decision.protocol()) {
            (Fate::Leave, _) => refuse.push(Rule::new(tests.clone(), Verdict::Return, *why)),
            (Fate::Refuse, _) => refuse.push(Rule::new(tests.clone(), Verdict::Prohibit, *why)),
            (Fate::Pass, _) => {}
            (Fate::Take(_), Some(Protocol::Udp)) => refuse.push(Rule::new(
                and(&Test::FromOpener),
                Verdict::Prohibit,
                "UDP that was not steered is refused",
            )),
            (Fate::Take(_), _) => refuse.extend(tcp(intent, tests)),
        }
    }
    refuse.extend(the_rest(intent, way));
    let Known {
        steered,
        onward,
        stranded,
    } = known;
    let first = |steered: &[Rule]| {
        let rules = [bypass(intent)].into_iter();
        rules
            .chain([steered, stranded].concat())
            .collect::<Vec<_>>()
    };
    let mut guard = match way {
        Way::Forwarded(_) => first(onward),
        Way::Local | Way::Inbound => first(steered),
    };
    guard.extend(scope::rules(&intent.scope, way, "refuse"));
    let mut chains = vec![
        chain("refuse", refuse),
        hooked("guard", ChainKind::Filter, way.exit(), REFUSE_AT, guard),
    ];
    if matches!(way, Way::Forwarded(_)) && intent.traffic.dns == Some(Dns::Capture) {
        let mut own = first(steered);
        own.extend(own_resolver(intent, way));
        chains.push(hooked(
            "guarddns",
            ChainKind::Filter,
            Hook::Input,
            REFUSE_AT,
            own,
        ));
    }
    chains
}

/// What becomes of TCP that was to be steered and was not.
///
/// Whoever is no command may have connections from before, which only their first segment tells from
/// later ones. All that a command opens is younger than the rules, so later segments are refused as
/// well: those of connections that were steered until the engine died. What passes is told, not what is
/// refused, as conntrack has no word on packets that it does not know: what it was made to forget, and
/// must not pick up in the middle (`nf_conntrack_tcp_loose`).
fn tcp(intent: &Intent, tests: &[Test]) -> Vec<Rule> {
    let and = |test: Option<Test>| tests.iter().cloned().chain(test).collect::<Vec<_>>();
    let refused = |tests| Rule::new(tests, Verdict::Reset, "TCP that was not steered is refused");
    match intent.scope.command {
        true => vec![
            Rule::new(
                and(Some(Test::ToOpener)),
                Verdict::Return,
                "connections that others opened to the command",
            ),
            refused(and(None)),
        ],
        false => vec![refused(and(Some(Test::Opening)))],
    }
}

/// The chains that refuse under `open` as well, while steering is in force; `taken` tells packets
/// that are steered.
pub fn always(intent: &Intent, way: &Way, decisions: &[Decision], steered: &[Rule]) -> Vec<Chain> {
    let mut deny = pools(intent);
    let last = decisions.iter().rposition(|d| d.fate == Fate::Refuse);
    let before = last.map_or(&[][..], |last| &decisions[..=last]);
    for Decision { tests, fate, why } in before.iter().filter(|d| d.concerns(Protocol::Udp)) {
        let verdict = match fate {
            Fate::Leave => Verdict::Return,
            Fate::Refuse => Verdict::Prohibit,
            Fate::Take(_) | Fate::Pass => continue,
        };
        deny.push(Rule::new(tests.clone(), verdict, *why));
    }
    if deny.is_empty() {
        return Vec::new();
    }
    let mut base = vec![bypass(intent)];
    base.extend(steered.iter().cloned());
    base.extend(scope::rules(&intent.scope, way, "deny"));
    vec![
        chain("deny", deny),
        hooked("never", ChainKind::Filter, way.exit(), REFUSE_AT, base),
    ]
}

/// Made-up addresses lead nowhere, so nothing may leave for one.
fn pools(intent: &Intent) -> Vec<Rule> {
    let mut rules = Vec::new();
    for pool in traffic::pools(intent) {
        let to = Test::To(pool);
        let why = "a made-up address never leaves this machine";
        let tcp = [to.clone(), Test::Protocol(Protocol::Tcp)];
        rules.push(Rule::new(tcp, Verdict::Reset, why));
        rules.push(Rule::new([to], Verdict::Prohibit, why));
    }
    rules
}

/// Queries to a resolver of this host that others should not reach past the engine.
fn own_resolver(intent: &Intent, way: &Way) -> Vec<Rule> {
    let mut rules = Vec::new();
    for protocol in intent.traffic.captured() {
        let mut tests = way.tests();
        tests.push(Test::Protocol(protocol));
        tests.push(Test::ToPort(vec![well_known(53)]));
        tests.push(match protocol {
            Protocol::Tcp => Test::Opening,
            Protocol::Udp => Test::FromOpener,
        });
        rules.push(Rule::new(
            tests,
            refusal(protocol),
            "queries to this host's own resolver that were not steered are refused",
        ));
    }
    rules
}

/// Whether protocols beside TCP and UDP are refused: only where nothing narrows the traffic, and
/// not for this host itself, which needs its ICMP to work.
pub fn refuses_the_rest(intent: &Intent, way: &Way) -> bool {
    is_everything(intent)
        && match way {
            Way::Local => !intent.scope.of.host && chooses_sockets(&intent.scope),
            Way::Forwarded(_) => true,
            Way::Inbound => false,
        }
}

fn the_rest(intent: &Intent, way: &Way) -> Vec<Rule> {
    if !refuses_the_rest(intent, way) {
        return Vec::new();
    }
    let mut rules = Vec::new();
    // All TCP of a command is decided by then.
    if !intent.scope.command {
        rules.push(Rule::new(
            [Test::Protocol(Protocol::Tcp)],
            Verdict::Return,
            "connections that were there before",
        ));
    }
    rules.push(Rule::new(
        [Test::Protocol(Protocol::Udp)],
        Verdict::Return,
        "answers to datagrams of others",
    ));
    // What others on the way have to say about flows from the other side passes.
    let tests: &[Test] = match way {
        Way::Forwarded(_) => &[Test::FromOpener],
        Way::Local | Way::Inbound => &[],
    };
    rules.push(Rule::new(
        tests.iter().cloned(),
        Verdict::Prohibit,
        "nor can other protocols be steered",
    ));
    rules
}
