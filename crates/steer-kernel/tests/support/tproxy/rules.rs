//! Rules as methods plan them, reduced to what the cases need.

use steer_core::address::{Family, Protocol};
use steer_core::intent::OnFailure;
use steer_core::mark::Mark;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{MarkRef, PortRef};

use super::engine::PORT;

pub const STEER: MarkRef = MarkRef::Fixed(Mark::STEER);
pub const BYPASS: MarkRef = MarkRef::Fixed(Mark::BYPASS);
/// The port of the servers that are steered, whatever the protocol.
pub const SERVED: u16 = 80;

/// What this host's programs send to port 80 goes to the engine.
pub fn local(dead: OnFailure) -> Ruleset {
    let lo = || Test::From(vec!["lo".to_owned()]);
    steer(vec![
        chain(
            "output",
            ChainKind::Route,
            Hook::Output,
            vec![
                bypass(),
                Rule::new(
                    [tcp(), Test::Opening, served()],
                    Verdict::Track(STEER),
                    "new",
                ),
                Rule::new(
                    [tcp(), Test::FromOpener, Test::Tracked(STEER)],
                    Verdict::Mark(STEER),
                    "steered",
                ),
                Rule::new(
                    [udp(), Test::FromOpener, served()],
                    Verdict::Mark(STEER),
                    "datagrams",
                ),
            ],
        ),
        late(
            "arrive",
            vec![
                bypass(),
                Rule::new(
                    [lo(), Test::Marked(STEER), tcp()],
                    tproxy(dead),
                    "to the engine",
                ),
                Rule::new(
                    [lo(), Test::Marked(STEER), udp()],
                    tproxy(dead),
                    "to the engine",
                ),
            ],
        ),
        gate(),
    ])
}

/// What is forwarded from an interface to port 80 goes to the engine.
pub fn forwarded(interface: &str, dead: OnFailure) -> Ruleset {
    let from = || Test::From(vec![interface.to_owned()]);
    steer(vec![
        chain(
            "arrive",
            ChainKind::Route,
            Hook::Prerouting,
            vec![
                bypass(),
                Rule::new(
                    [from(), tcp(), Test::Transparent],
                    Verdict::Mark(STEER),
                    "steered",
                ),
                Rule::new([from(), Test::ToThisHost], Verdict::Return, "to the router"),
                Rule::new(
                    [from(), tcp(), Test::Opening, served()],
                    Verdict::Track(STEER),
                    "for the guard, should it be all that is left",
                ),
                Rule::new(
                    [from(), tcp(), Test::Opening, served()],
                    tproxy(dead),
                    "new",
                ),
                Rule::new(
                    [from(), udp(), Test::FromOpener, served()],
                    tproxy(dead),
                    "new",
                ),
            ],
        ),
        gate(),
    ])
}

/// The same, where the engine's own connections have the addresses of its clients.
pub fn forwarded_as_clients(interface: &str) -> Ruleset {
    let mut rules = forwarded(interface, OnFailure::Closed);
    let answers = Protocol::ALL.map(|protocol| {
        Rule::new(
            [Test::Protocol(protocol), Test::Transparent],
            Verdict::Mark(STEER),
            "answers to the engine",
        )
    });
    rules.chains.push(late("answers", answers.to_vec()));
    rules
}

/// What comes from other hosts to port 80 of this one goes to the engine.
pub fn inbound(dead: OnFailure) -> Ruleset {
    let lo = || Test::From(vec!["lo".to_owned()]);
    let here = || Test::ToThisHost;
    steer(vec![
        chain(
            "arrive",
            ChainKind::Route,
            Hook::Prerouting,
            vec![
                Rule::new([lo()], Verdict::Return, "this host's own"),
                Rule::new([tcp(), Test::Transparent], Verdict::Mark(STEER), "steered"),
                Rule::new(
                    [here(), tcp(), Test::Opening, served()],
                    tproxy(dead),
                    "new",
                ),
                Rule::new(
                    [here(), udp(), Test::FromOpener, served()],
                    tproxy(dead),
                    "new",
                ),
            ],
        ),
        gate(),
    ])
}

/// What is forwarded from an interface to port 80 is rewritten to the engine's port, which is
/// closed to everyone else.
pub fn redirected(interface: &str) -> Ruleset {
    let from = || Test::From(vec![interface.to_owned()]);
    let port = || PortRef::Fixed(PORT);
    let listener = || Test::ToListener(port());
    let to_engine = || Verdict::Redirect(port());
    steer(vec![
        chain(
            "arrive",
            ChainKind::Nat,
            Hook::Prerouting,
            vec![
                Rule::new([from(), Test::ToThisHost], Verdict::Return, "to the router"),
                Rule::new([from(), tcp(), Test::Opening, served()], to_engine(), "new"),
                Rule::new([from(), udp(), served()], to_engine(), "new"),
            ],
        ),
        chain(
            "gate",
            ChainKind::Filter,
            Hook::Input,
            vec![
                Rule::new(
                    [tcp(), listener(), Test::RewrittenTo(port())],
                    Verdict::Return,
                    "ours",
                ),
                Rule::new(
                    [udp(), listener(), Test::RewrittenTo(port())],
                    Verdict::Return,
                    "ours",
                ),
                Rule::new([tcp(), listener()], Verdict::Reset, "not rewritten"),
                Rule::new([udp(), listener()], Verdict::Prohibit, "not rewritten"),
            ],
        ),
    ])
}

/// Port 80 is refused where it was not steered, in one of the hooks output and forward.
pub fn guard(hook: Hook) -> Ruleset {
    let rules = vec![
        bypass(),
        Rule::new([Test::Marked(STEER)], Verdict::Return, "on its way"),
        Rule::new(
            [tcp(), Test::FromOpener, Test::Tracked(STEER)],
            Verdict::Reset,
            "was steered",
        ),
        Rule::new([tcp(), Test::Opening, served()], Verdict::Reset, "in scope"),
        Rule::new(
            [udp(), Test::FromOpener, served()],
            Verdict::Prohibit,
            "in scope",
        ),
    ];
    Ruleset {
        role: Role::Guard,
        families: Family::ALL.to_vec(),
        chains: vec![chain("guard", ChainKind::Filter, hook, rules)],
    }
}

/// What came this far by our mark and found no engine is refused.
fn gate() -> Chain {
    let rules = vec![
        Rule::new(
            [Test::Marked(STEER), Test::Transparent],
            Verdict::Return,
            "the engine's",
        ),
        Rule::new([Test::Marked(STEER), tcp()], Verdict::Reset, "no engine"),
        Rule::new([Test::Marked(STEER)], Verdict::Prohibit, "no engine"),
    ];
    chain("gate", ChainKind::Filter, Hook::Input, rules)
}

fn steer(chains: Vec<Chain>) -> Ruleset {
    Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains,
    }
}

fn chain(name: &str, kind: ChainKind, hook: Hook, rules: Vec<Rule>) -> Chain {
    let priority = match kind {
        ChainKind::Route => -151,
        ChainKind::Nat => -101,
        ChainKind::Filter => 0,
    };
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

/// A chain of arriving packets behind what neighbours do to check where they came from.
///
/// A packet of this host's own is known by its return at `lo` only until it has a listener, and
/// an answer to the engine's connection as a client is routed here once it has the mark.
fn late(name: &str, rules: Vec<Rule>) -> Chain {
    let mut chain = chain(name, ChainKind::Route, Hook::Prerouting, rules);
    if let Some(base) = &mut chain.base {
        base.priority = 100;
    }
    chain
}

fn bypass() -> Rule {
    Rule::new([Test::Marked(BYPASS)], Verdict::Return, "the engine's own")
}

fn tcp() -> Test {
    Test::Protocol(Protocol::Tcp)
}

fn udp() -> Test {
    Test::Protocol(Protocol::Udp)
}

fn served() -> Test {
    Test::ToPort(vec![SERVED.to_string().parse().expect("a port")])
}

fn tproxy(dead: OnFailure) -> Verdict {
    Verdict::Tproxy {
        to: PortRef::Fixed(PORT),
        mark: STEER,
        dead,
    }
}
