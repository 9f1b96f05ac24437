use std::collections::BTreeSet;
use std::net::IpAddr;

use steer_core::address::{Destination, PortRange, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Filter, Intent};
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::object::{Binding, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::policy::App;
use steer_core::requirement::Requirement;
use steer_core::steerer::{PlanError, Steerer};
use steer_core::symbol::ListenerId;

use super::Dns;
use crate::local;

pub(super) fn make(method: &Dns, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    // Not `admit`: this method needs no scope.
    let keys = method.profile().refused(intent);
    if !keys.is_empty() {
        let method = Method::Dns;
        return Err(PlanError::Keys { method, keys });
    }
    let Served {
        addresses,
        protocols,
        ports,
    } = served(intent)?;
    let missing: Vec<_> = method
        .requirements(intent, host)
        .into_iter()
        .filter(Requirement::is_missing)
        .collect();
    let (Ok(upstream), true) = (local::upstream(intent, host), missing.is_empty()) else {
        let method = Method::Dns;
        return Err(PlanError::Missing { method, missing });
    };
    let mut plan = Plan::new(Method::Dns);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let resolver = Listener {
            id: id("dns".to_owned(), protocol),
            method: Method::Dns,
            protocol,
            addresses: vec![local::RESOLVER],
            port: Some(resolver_port(intent)),
            to: Some(Destination::addr(upstream)),
            binding: Binding::Own,
            app: Some(App::Dns),
        };
        plan.push(Life::Steer, Object::Listener(resolver));
    }
    for port in &ports {
        for protocol in &protocols {
            let listener = Listener {
                id: id(format!("port{port}"), *protocol),
                method: Method::Dns,
                protocol: *protocol,
                addresses: addresses.clone(),
                port: Some(*port),
                to: None,
                binding: Binding::Own,
                app: None,
            };
            plan.push(Life::Steer, Object::Listener(listener));
        }
    }
    notes(&mut plan, intent, &ports);
    Ok(plan)
}

/// What is listened on.
struct Served {
    addresses: Vec<IpAddr>,
    protocols: Vec<Protocol>,
    ports: Vec<u16>,
}

fn served(intent: &Intent) -> Result<Served, PlanError> {
    let nothing = |why: &str| PlanError::Nothing {
        why: why.to_owned(),
    };
    let addresses = local::addresses(intent);
    if addresses.is_empty() {
        return Err(nothing(
            "no name is chosen by traffic.include.domains, and the method dns selects by name",
        ));
    }
    let Filter { protocols, .. } = &intent.traffic.include;
    let excluded = &intent.traffic.exclude.protocols;
    let protocols: Vec<_> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|p| protocols.is_empty() || protocols.contains(p))
        .filter(|p| !excluded.contains(p))
        .collect();
    if protocols.is_empty() {
        return Err(nothing("every protocol is excluded"));
    }
    // One more than is allowed tells that there are too many.
    let most = SOCKETS_MOST / (addresses.len() * protocols.len());
    let ports: Vec<_> = ports(intent).into_iter().take(most + 1).collect();
    if ports.is_empty() {
        return Err(nothing("every port is excluded"));
    }
    if ports.len() > most {
        return Err(PlanError::Together {
            keys: vec![Key::IncludeDomains, Key::Ports],
            why: format!(
                "the method dns needs a listener for each name on each port, and has at most \
                 {SOCKETS_MOST}"
            ),
        });
    }
    Ok(Served {
        addresses,
        protocols,
        ports,
    })
}

/// Every port that is listened on, that of the resolver too.
pub(super) fn ports_asked(intent: &Intent) -> impl Iterator<Item = u16> {
    std::iter::once(resolver_port(intent)).chain(ports(intent))
}

fn ports(intent: &Intent) -> BTreeSet<u16> {
    let each = |ranges: &[PortRange]| -> BTreeSet<u16> {
        let each = ranges.iter().map(|range| range.first()..=range.last());
        each.flatten().filter(|port| *port > 0).collect()
    };
    let mut ports = each(&intent.traffic.include.ports);
    if intent.traffic.include.ports.is_empty() {
        ports.extend(PORTS);
    }
    let excluded = each(&intent.traffic.exclude.ports);
    ports.difference(&excluded).copied().collect()
}

fn resolver_port(intent: &Intent) -> u16 {
    intent.listen.dns.unwrap_or(RESOLVER_PORT)
}

fn id(name: String, protocol: Protocol) -> ListenerId {
    ListenerId(match protocol {
        Protocol::Tcp => name,
        Protocol::Udp => name + "-udp",
    })
}

fn notes(plan: &mut Plan, intent: &Intent, ports: &[u16]) {
    let resolver = local::RESOLVER;
    match resolver_port(intent) {
        53 => plan.note(format!(
            "programs are steered where they ask this resolver, which nothing makes them do: \
             write `nameserver {resolver}` as the first line of /etc/resolv.conf"
        )),
        port => plan.note(format!(
            "programs are steered where they ask this resolver, which nothing makes them do: \
             write `DNS={resolver}:{port}` for systemd-resolved; /etc/resolv.conf cannot name a \
             port, for it write listen.dns: 53 and there `nameserver {resolver}`"
        )),
    }
    let pinned = local::pinned(intent);
    if !pinned.is_empty() {
        let addresses = local::addresses(intent);
        let mut each: Vec<_> = pinned
            .iter()
            .zip(addresses)
            .take(NAMES_SHOWN)
            .map(|(name, address)| format!("{name} is {address}"))
            .collect();
        if pinned.len() > each.len() {
            each.push(format!("and so on for {} more", pinned.len() - each.len()));
        }
        plan.note(each.join(", "));
    }
    let others = local::on_demand(intent);
    if others > 0 {
        plan.note(format!(
            "names below a `*.` get an address when they are asked for, at most {others} at a time"
        ));
    }
    let shown: Vec<_> = ports.iter().map(ToString::to_string).collect();
    plan.note(format!(
        "chosen names are reached on port {} alone, by IPv4; their other ports are refused, as a \
         resolver cannot know which port is asked for: write them under traffic.include.ports",
        shown.join(", ")
    ));
    plan.note("every local user can ask the resolver and reach the chosen names through it");
    plan.note(
        "when the engine is gone, chosen names do not resolve; any local program may take the \
         ports",
    );
}

/// The ports that are served where none is written.
const PORTS: [u16; 2] = [80, 443];

/// The resolver's port where none is written.
const RESOLVER_PORT: u16 = 15053;

/// As many descriptors as most processes have to themselves without asking, but for some.
const SOCKETS_MOST: usize = 512;

/// More would hide the rest of the plan.
const NAMES_SHOWN: usize = 32;

#[cfg(test)]
mod tests;
