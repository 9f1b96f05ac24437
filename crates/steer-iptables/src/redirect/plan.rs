use std::net::IpAddr;

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, OnFailure, Quic};
use steer_core::method::Method;
use steer_core::object::Binding;
use steer_core::plan::{Life, Plan};
use steer_core::ruleset::ChainKind;
use steer_core::steerer::PlanError;

use super::rules::{FIRST, HOOKS, Rules};
use steer_rules::assembly::Parts;
use steer_rules::listeners;
use steer_rules::rules::gate::At;
use steer_rules::rules::guard;
use steer_rules::rules::traffic;
use steer_rules::rules::way::Way;
use steer_rules::{neighbours, notes, place};

/// The plan of an intent that was admitted.
pub(super) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    let way = Way::of(intent)?;
    traffic::check(intent, host, &way)?;
    neighbours::check(host, intent, &[intent.bypass])?;
    let ports = listeners::ports(intent, &way, STEERS);
    if ports.is_empty() {
        return Err(PlanError::Nothing {
            why: "redirect steers TCP, and TCP is excluded".to_owned(),
        });
    }
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
    let parts = Parts {
        intent,
        host,
        way: &way,
        decisions: &decisions,
        steer: rules.steer(&decisions),
        known: rules.known(),
        refuse: Vec::new(),
        families,
    };
    parts.push(&mut plan);

    notes::common(intent, host, &way, quic, &mut plan);
    not_steered(intent, &way, quic, &mut plan);
    let places = HOOKS.map(|hook| (ChainKind::Nat, hook, FIRST));
    neighbours::notes(host, &places, &[intent.bypass], &mut plan);
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

fn not_steered(intent: &Intent, way: &Way, quic: Quic, plan: &mut Plan) {
    let traffic = &intent.traffic;
    if !traffic.means(Protocol::Udp) {
        return;
    }
    let captured = traffic.dns == Some(Dns::Capture);
    let dns = match captured {
        true => " other than DNS",
        false => "",
    };
    let rest = guard::refuses_the_rest(intent, way);
    let (what, fate) = match (intent.failure(), rest) {
        (OnFailure::Open, _) => ("ICMP and UDP", "they go direct"),
        (OnFailure::Closed, true) => ("other protocols and UDP", "they are refused"),
        (OnFailure::Closed, false) => ("UDP", "it is refused; other protocols go direct"),
    };
    // What has a key of its own has a fate of its own.
    let has_quic = traffic.means_port(443);
    let but = match (intent.failure(), quic) {
        (OnFailure::Open, Quic::Reject) if has_quic => "; QUIC is refused all the same",
        (OnFailure::Closed, Quic::Leave) if has_quic => "; QUIC goes direct all the same",
        _ => "",
    };
    plan.note(format!("redirect cannot steer {what}{dns}: {fate}{but}"));
}

/// What REDIRECT takes to any destination; of UDP only DNS, which a single port can answer.
const STEERS: &[Protocol] = &[Protocol::Tcp];
