//! Which traffic of the scope, as hooks are told.

use std::net::IpAddr;

use steer_core::address::{PortRange, Protocol};
use steer_core::host::Host;
use steer_core::intent::{Dns, Intent, Loopback, Quic, Scope, Selector, Traffic};

/// The traffic with every choice made: made-up addresses stand for the names that have them, and
/// names count in the place of networks.
pub(crate) fn hooked(intent: &Intent) -> Traffic {
    let mut traffic = intent.traffic.clone();
    traffic.loopback.get_or_insert(Loopback::Skip);
    traffic.dns.get_or_insert(Dns::Leave);
    traffic.quic.get_or_insert(Quic::Steer);
    let pools = intent.resolve.fake.as_ref().map(|fake| &fake.pools);
    let include = &mut traffic.include;
    match (include.domains.is_empty(), pools) {
        (false, Some(pools)) => {
            include.domains.clear();
            include.cidrs.clone_from(pools);
        }
        (false, None) => include.cidrs.clear(),
        (true, Some(pools)) if !include.cidrs.is_empty() => include.cidrs.extend(pools),
        (true, _) => {}
    }
    traffic
}

/// The protocols whose port 53 is captured: DNS has its own key, so only exclusion counts.
pub(crate) fn captured(traffic: &Traffic) -> Vec<Protocol> {
    let excluded = &traffic.exclude.protocols;
    let mut protocols = Protocol::ALL.to_vec();
    protocols.retain(|protocol| !excluded.contains(protocol));
    protocols
}

/// Whether a protocol is in the traffic: nothing written means every protocol.
pub(crate) fn meant(traffic: &Traffic, protocol: Protocol) -> bool {
    let within = |list: &[Protocol]| list.contains(&protocol);
    (traffic.include.protocols.is_empty() || within(&traffic.include.protocols))
        && !within(&traffic.exclude.protocols)
}

/// Whether a port is in the traffic, as far as ports are written.
pub(crate) fn port_meant(traffic: &Traffic, port: u16) -> bool {
    let within = |list: &[PortRange]| list.iter().any(|range| range.contains(port));
    (traffic.include.ports.is_empty() || within(&traffic.include.ports))
        && !within(&traffic.exclude.ports)
}

/// The resolver of this host that the engine would ask in the place of programs.
pub(crate) fn daemon(intent: &Intent, host: &Host) -> Option<IpAddr> {
    let asked = match intent.resolve.resolver {
        Some(written) => vec![written.ip()],
        None => host.resolvers.clone(),
    };
    asked.into_iter().find(IpAddr::is_loopback)
}

/// Whether the scope leaves out nobody on this host.
pub(crate) fn everybody(scope: &Scope) -> bool {
    let Scope {
        command,
        of,
        except,
    } = scope;
    of.host && !command && !narrows(of) && !narrows(except)
}

/// Whether a selector tells some programs from others.
pub(super) fn narrows(selector: &Selector) -> bool {
    let Selector {
        host: _,
        cgroup,
        uid,
        gid,
        command,
        pid,
        interface: _,
        netns: _,
        inbound: _,
    } = selector;
    let lists = [cgroup.len(), uid.len(), gid.len(), command.len(), pid.len()];
    lists.iter().any(|len| *len > 0)
}
