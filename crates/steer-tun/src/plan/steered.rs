//! The plan for a scope: what it sends is marked, and routed to a device by its mark.

use steer_core::address::{Family, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Intent, Quic};
use steer_core::key::Key;
use steer_core::object::Layer;
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;

use steer_rules::assembly::Parts;
use steer_rules::rules::marking::{Marking, marks};
use steer_rules::rules::traffic;
use steer_rules::rules::way::Way;
use steer_rules::{listeners, neighbours, place};

use super::rules::{self, Rules};
use super::{devices, method, with_listener};
use crate::notes;
use crate::requirements::forwarded;

pub(super) fn make(intent: &Intent, host: &Host, layer: Layer) -> Result<Plan, PlanError> {
    stations_alone(intent)?;
    let way = Way::of(intent)?;
    traffic::check(intent, host, &way)?;
    neighbours::check(host, intent, &marks(intent))?;
    let ports = listeners::ports(intent, &way, &Protocol::ALL);
    if ports.is_empty() {
        let method = method(layer);
        return Err(PlanError::Nothing {
            why: format!("TCP and UDP are excluded, and {method} steers nothing else by itself"),
        });
    }
    let quic = intent.traffic.quic.unwrap_or(Quic::Steer);
    let mut decisions = vec![rules::to_this_host()];
    decisions.extend(traffic::decisions(intent, &way, quic, rules::beyond()));
    let families = families(intent, host, &way);
    let marking = Marking {
        intent,
        way: &way,
        ports: &ports,
    };
    let rules = Rules {
        intent,
        marking,
        layer,
        families: &families,
    };

    let mut plan = with_listener(intent, host, layer);
    place::command(intent, &mut plan);
    let forwards = matches!(way, Way::Forwarded(_));
    if layer == Layer::Ethernet {
        plan.push(Life::Steer, devices::outer(intent, &families, forwards));
    }
    let inner_forwards = forwards && layer == Layer::Ip;
    plan.push(Life::Steer, devices::inner(intent, host, inner_forwards));
    rules.routes(&mut plan);
    let parts = Parts {
        intent,
        host,
        way: &way,
        decisions: &decisions,
        steer: rules.steer(&decisions),
        known: rules.known(),
        refuse: rules.stray(),
        families: families.clone(),
    };
    parts.push(&mut plan);

    steer_rules::notes::common(intent, host, &way, quic, &mut plan);
    notes::not_steered(intent, &way, layer, &mut plan);
    notes::surroundings(&rules.device(), &way, &families, host, &mut plan);
    steer_rules::notes::marks_at_the_source(host, &way, &mut plan);
    marking.others(host, &mut plan)?;
    neighbours::notes(host, &rules::places(&way), &marks(intent), &mut plan);
    steer_rules::notes::of_flows(&way, &mut plan);
    place::within(intent, host, plan)
}

/// The families to steer: what is not forwarded does not come by.
fn families(intent: &Intent, host: &Host, way: &Way) -> Vec<Family> {
    let mut families = listeners::usable(host);
    if matches!(way, Way::Forwarded(_)) {
        let forwarded = forwarded(intent, host);
        families.retain(|family| forwarded.contains(family));
    }
    families
}

/// What is for stations of a link means nothing where this host is the only one.
fn stations_alone(intent: &Intent) -> Result<(), PlanError> {
    let link = &intent.link;
    let written = [
        (!link.gateway.is_empty(), Key::DeviceGateway),
        (link.dhcp, Key::DeviceDhcp),
        (link.advertise, Key::DeviceAdvertise),
    ];
    match written.into_iter().find(|(written, _)| *written) {
        Some((_, key)) => Err(PlanError::Without {
            key,
            needs: "`device.bridge` or `device.fd`, whose stations it is for,",
        }),
        None => Ok(()),
    }
}
