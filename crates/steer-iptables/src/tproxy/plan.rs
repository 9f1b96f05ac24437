use std::net::IpAddr;

use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::{Intent, OnFailure, Quic, Source};
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::object::Binding;
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;

use super::rules::{self, Rules};
use steer_rules::assembly::Parts;
use steer_rules::backend::Filter;
use steer_rules::listeners;
use steer_rules::rules::gate::At;
use steer_rules::rules::guard;
use steer_rules::rules::marking::marks;
use steer_rules::rules::traffic;
use steer_rules::rules::way::{self, Way};
use steer_rules::{neighbours, notes, place};

/// The plan of an intent that was admitted.
pub(super) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    let way = Way::of(intent)?;
    traffic::check(intent, host, &way)?;
    keeps_source(intent, host, &way)?;
    neighbours::check(host, intent, &marks(intent))?;
    let ports = listeners::ports(intent, &way, &Protocol::ALL);
    if ports.is_empty() {
        return Err(PlanError::Nothing {
            why: "TCP and UDP are excluded, and tproxy steers nothing else".to_owned(),
        });
    }
    let quic = intent.traffic.quic.unwrap_or(Quic::Steer);
    let mut beyond = way::to_many();
    beyond.push(way::to_link());
    let decisions = traffic::decisions(intent, &way, quic, beyond);
    let families = listeners::usable(host);
    let rules = Rules {
        intent,
        way: &way,
        ports: &ports,
        at: At::Loopback(families.clone()),
    };
    let loopback: Vec<IpAddr> = families.iter().map(|family| family.loopback()).collect();

    let mut plan = Plan::new(Method::Tproxy);
    let binding = Binding::Transparent;
    for object in listeners::objects(intent, Method::Tproxy, &ports, &loopback, binding) {
        plan.push(Life::Steer, object);
    }
    place::command(intent, &mut plan);
    for object in rules.routes(&families) {
        plan.push(Life::Support, object);
    }
    let parts = Parts {
        intent,
        host,
        way: &way,
        decisions: &decisions,
        steer: rules.steer(&decisions),
        known: rules.marking().known(),
        refuse: rules.stray(),
        families,
    };
    parts.push(&mut plan);

    notes::common(intent, host, &way, quic, &mut plan);
    not_steered(intent, &way, &mut plan);
    unheard(intent, &way, Filter::of(intent, host), &mut plan);
    notes::marks_at_the_source(host, &way, &mut plan);
    if rules.is_routed() {
        rules.marking().others(host, &mut plan)?;
    }
    neighbours::notes(host, &rules::places(&way), &marks(intent), &mut plan);
    notes::of_flows(&way, &mut plan);
    place::within(intent, host, plan)
}

/// Whether `source: client` can be honoured: the answers then come from anywhere and have to be
/// routed here by their mark alone.
fn keeps_source(intent: &Intent, host: &Host, way: &Way) -> Result<(), PlanError> {
    if intent.source != Some(Source::Client) {
        return Ok(());
    }
    match way {
        Way::Local => Ok(()),
        Way::Inbound => Err(PlanError::Together {
            keys: vec![Key::Inbound, Key::SourceClient],
            why: "this host would send its answers to the client, past the engine".to_owned(),
        }),
        Way::Forwarded(_) => match host.interfaces.iter().find(|i| i.src_valid_mark) {
            Some(interface) => Err(PlanError::Clash {
                ours: "the way of answers to the client's address".to_owned(),
                by: format!(
                    "src_valid_mark=1 at {} has the kernel check their source by their mark, and \
                     drop them without a word",
                    interface.name
                ),
                remedy: "leave `source: client` out, or find out who set it (Tailscale does) and \
                         `sysctl net.ipv4.conf.all.src_valid_mark=0`"
                    .to_owned(),
            }),
            None => Ok(()),
        },
    }
}

fn not_steered(intent: &Intent, way: &Way, plan: &mut Plan) {
    let udp = intent.traffic.means(Protocol::Udp);
    let rest = guard::refuses_the_rest(intent, way);
    match intent.failure() {
        OnFailure::Open if udp => {
            plan.note(
                "tproxy cannot steer ICMP, multicast, broadcast and IPv6 link-local addresses: they \
                 go direct",
            );
        }
        OnFailure::Open => {
            plan.note("tproxy cannot steer ICMP and IPv6 link-local addresses: they go direct");
        }
        OnFailure::Closed if rest => plan.note(
            "tproxy cannot steer ICMP, multicast, broadcast and IPv6 link-local addresses: they are \
             refused",
        ),
        OnFailure::Closed => plan.note(
            "tproxy cannot steer multicast, broadcast and IPv6 link-local addresses: they are \
             refused; ICMP goes direct",
        ),
    }
}

/// What becomes of packets while nobody listens at the engine's ports.
fn unheard(intent: &Intent, way: &Way, filter: Filter, plan: &mut Plan) {
    plan.note(match (filter, intent.failure(), way) {
        (Filter::Iptables(_), _, _) => {
            "while nobody listens at the engine's ports, TPROXY of iptables drops what is steered, \
             without an answer and under open as well"
        }
        (Filter::Nft, OnFailure::Open, Way::Forwarded(_) | Way::Inbound) => {
            "while nobody listens at the engine's ports, flows that begin go direct; those that \
             were steered are refused"
        }
        (Filter::Nft, _, _) => {
            "while nobody listens at the engine's ports, what is steered is refused"
        }
    });
}
