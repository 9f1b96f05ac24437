use steer_core::address::{Cidr, Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Intent, Loopback, OnFailure, Quic};
use steer_core::method::Method;
use steer_core::object::{ChildSetting, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::steerer::PlanError;
use steer_core::symbol::{CgroupRef, ListenerId, PortRef};

use crate::backend;
use crate::rules;

/// The plan of an intent that was admitted.
pub(super) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    if !rules::meant(&intent.traffic, Protocol::Tcp) {
        return Err(PlanError::Nothing {
            why: "redirect steers TCP, and TCP is excluded".to_owned(),
        });
    }
    let backend = backend::choose(intent, host);
    let families = usable(host);
    let mut plan = Plan::new(Method::Redirect);

    plan.push(
        Life::Steer,
        Object::Listener(Listener {
            id: outbound(),
            method: Method::Redirect,
            protocol: Protocol::Tcp,
            addresses: families.iter().map(|family| family.loopback()).collect(),
            port: intent.listen.outbound,
            to: None,
        }),
    );
    if intent.scope.command {
        plan.push(Life::Support, Object::Cgroup(CgroupRef::Command));
        plan.push(
            Life::Steer,
            Object::Child(ChildSetting::Cgroup(CgroupRef::Command)),
        );
    }
    if intent.failure() == OnFailure::Closed {
        plan.push(
            Life::Guard,
            backend::object(
                backend,
                Ruleset {
                    role: Role::Guard,
                    families: refusable(host),
                    chains: guard(intent, &families),
                },
            ),
        );
    }
    plan.push(
        Life::Steer,
        backend::object(
            backend,
            Ruleset {
                role: Role::Steer,
                families: families.clone(),
                chains: steer(intent, &families),
            },
        ),
    );
    notes(intent, host, &mut plan);
    Ok(plan)
}

/// The families to refuse: also one whose loopback address is missing, or comes up later.
fn refusable(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|f| *f == Family::V4 || host.socket_families.contains(f))
        .collect()
}

/// The families to steer: IPv4 always, IPv6 where there is an address to listen on.
fn usable(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|f| *f == Family::V4 || host.families.contains(f))
        .collect()
}

/// The chains that bring connections to the engine.
fn steer(intent: &Intent, families: &[Family]) -> Vec<Chain> {
    let mut traffic = rules::left_alone(&intent.traffic, &[Protocol::Tcp]);
    traffic.extend(
        rules::included(&intent.traffic, Protocol::Tcp)
            .into_iter()
            .map(|tests| Rule::new(tests, Verdict::Redirect(port()), "to the engine")),
    );
    let mut chains = vec![
        chain("traffic", None, traffic),
        chain("scope", None, rules::scope(&intent.scope, "traffic")),
        chain(
            "output",
            Some((ChainKind::Nat, Hook::Output, BEFORE_OTHERS)),
            vec![
                rules::bypass(intent),
                // Connections that conntrack picks up in the middle look new to nat; rewriting
                // them would reset them.
                Rule::new(
                    [Test::Protocol(Protocol::Tcp), Test::Opening],
                    Verdict::Jump("scope".to_owned()),
                    "only connections that begin",
                ),
            ],
        ),
        chain(
            "gate",
            Some((ChainKind::Filter, Hook::Input, 0)),
            gate(families),
        ),
    ];
    if rejects_quic(intent) && intent.failure() == OnFailure::Open {
        chains.push(chain("nquic", None, {
            let mut list = rules::left_alone(&intent.traffic, &[Protocol::Udp]);
            list.push(refuse_quic());
            list
        }));
        let mut output = vec![rules::bypass(intent)];
        output.extend(rules::scope(&intent.scope, "nquic"));
        chains.push(chain(
            "quic",
            Some((ChainKind::Filter, Hook::Output, 0)),
            output,
        ));
    }
    chains
}

/// The rules that let only rewritten connections reach the listener.
fn gate(families: &[Family]) -> Vec<Rule> {
    let mut list = Vec::new();
    for family in families {
        let to = || {
            vec![
                Test::To(vec![Cidr::host(family.loopback())]),
                Test::Protocol(Protocol::Tcp),
                Test::ToListener(port()),
            ]
        };
        let mut rewritten = to();
        rewritten.push(Test::Rewritten);
        list.push(Rule::new(rewritten, Verdict::Return, "steered connections"));
        list.push(Rule::new(
            to(),
            Verdict::Reset,
            "nobody reaches the listener who was not steered to it",
        ));
    }
    list
}

/// The chains that refuse what is in scope and not rewritten.
///
/// They see a packet after the nat hook: what is steered goes to the loopback address by then.
fn guard(intent: &Intent, families: &[Family]) -> Vec<Chain> {
    let traffic = &intent.traffic;
    let mut refuse = Vec::new();
    if traffic.loopback == Some(Loopback::Steer) {
        for family in families {
            refuse.push(Rule::new(
                [
                    Test::To(vec![Cidr::host(family.loopback())]),
                    Test::Protocol(Protocol::Tcp),
                    Test::ToListener(port()),
                ],
                Verdict::Return,
                "steered connections",
            ));
        }
    }
    refuse.extend(rules::left_alone(traffic, &[Protocol::Tcp, Protocol::Udp]));
    refuse.push(Rule::new(
        [
            Test::Protocol(Protocol::Tcp),
            Test::FromOpener,
            Test::RewrittenTo(port()),
        ],
        Verdict::Reset,
        "connections that were steered until the rules for it were gone",
    ));
    // Whoever is no command may have connections from before, which only their first segment
    // tells from later ones. All that a command opens is younger than the rules, so later segments
    // are refused as well: those of connections that were steered until the engine died.
    // The first segment is named in any case: conntrack has no word on what is not tracked.
    let fresh: &[Test] = match intent.scope.command {
        true => &[Test::Opening, Test::FromOpener],
        false => &[Test::Opening],
    };
    for tests in rules::included(traffic, Protocol::Tcp) {
        for fresh in fresh {
            let tests = tests.iter().chain([fresh]).cloned();
            refuse.push(Rule::new(
                tests,
                Verdict::Reset,
                "TCP that was not steered is refused",
            ));
        }
    }
    if rules::meant(traffic, Protocol::Udp) {
        if traffic.quic == Some(Quic::Leave) {
            refuse.push(Rule::new(
                [
                    Test::Protocol(Protocol::Udp),
                    Test::ToPort(vec![rules::well_known(443)]),
                ],
                Verdict::Return,
                "quic: leave",
            ));
        }
        for tests in rules::included(traffic, Protocol::Udp) {
            refuse.push(Rule::new(
                tests,
                Verdict::Prohibit,
                "UDP cannot be steered by this method",
            ));
        }
    }
    if refuses_the_rest(intent) {
        let why = match intent.scope.command {
            true => "connections that others opened to the command",
            false => "connections that were there before",
        };
        refuse.push(Rule::new(
            [Test::Protocol(Protocol::Tcp)],
            Verdict::Return,
            why,
        ));
        refuse.push(Rule::new(
            [],
            Verdict::Prohibit,
            "nor can other protocols be steered",
        ));
    }
    let mut guard = vec![rules::bypass(intent)];
    guard.extend(rules::scope(&intent.scope, "refuse"));
    vec![
        chain("refuse", None, refuse),
        chain("guard", Some((ChainKind::Filter, Hook::Output, 0)), guard),
    ]
}

/// Whether protocols beside TCP and UDP are refused: only where nothing narrows the traffic, and
/// not for a whole host, which needs its ICMP to work.
fn refuses_the_rest(intent: &Intent) -> bool {
    let include = &intent.traffic.include;
    !intent.scope.of.host
        && include.protocols.is_empty()
        && include.ports.is_empty()
        && include.cidrs.is_empty()
}

/// Whether UDP port 443 is refused, so that clients fall back to TCP.
fn rejects_quic(intent: &Intent) -> bool {
    let traffic = &intent.traffic;
    let meant = rules::meant(traffic, Protocol::Udp) && rules::port_meant(traffic, 443);
    meant && traffic.quic != Some(Quic::Leave)
}

fn refuse_quic() -> Rule {
    Rule::new(
        [
            Test::Protocol(Protocol::Udp),
            Test::ToPort(vec![rules::well_known(443)]),
        ],
        Verdict::Prohibit,
        "quic: reject, so that clients fall back to TCP",
    )
}

fn notes(intent: &Intent, host: &Host, plan: &mut Plan) {
    let traffic = &intent.traffic;
    if intent.on_failure.is_none() {
        let failure = intent.failure();
        plan.note(format!("on_failure is not written: {}", failure.name()));
    }
    if traffic.loopback.is_none() {
        plan.note("traffic.loopback is not written: skip (127.0.0.0/8 and ::1 are left alone)");
    }
    if traffic.dns.is_none() {
        plan.note("traffic.dns is not written: leave (port 53 goes direct)");
    }
    if traffic.quic.is_none() && rejects_quic(intent) {
        plan.note("traffic.quic is not written: reject (UDP port 443 is refused)");
    }
    if rules::meant(traffic, Protocol::Udp) {
        plan.note(match intent.failure() {
            OnFailure::Open => "redirect cannot steer UDP and ICMP: they go direct",
            OnFailure::Closed if refuses_the_rest(intent) => {
                "redirect cannot steer UDP and other protocols: they are refused"
            }
            OnFailure::Closed => {
                "redirect cannot steer UDP: it is refused; other protocols go direct"
            }
        });
    }
    if !host.families.contains(&Family::V6) {
        let refused = intent.failure() == OnFailure::Closed;
        plan.note(
            match (host.socket_families.contains(&Family::V6), refused) {
                (false, _) => "this kernel has no IPv6: only IPv4 is steered",
                (true, true) => "this host has no address ::1 to listen on: IPv6 is refused",
                (true, false) => "this host has no address ::1 to listen on: IPv6 goes direct",
            },
        );
    }
    plan.note("connections that exist at the start are left alone");
}

fn outbound() -> ListenerId {
    ListenerId("outbound".to_owned())
}

fn port() -> PortRef {
    PortRef::Listener(outbound())
}

fn chain(name: &str, base: Option<(ChainKind, Hook, i32)>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: base.map(|(kind, hook, priority)| Base {
            kind,
            hook,
            priority,
        }),
        rules,
    }
}

/// One before the usual priority of nat: among chains of one priority the last registered runs
/// first, so only a lower number is sure to.
const BEFORE_OTHERS: i32 = -101;
