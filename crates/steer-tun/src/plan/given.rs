//! The plan for a device that others bring packets to: an open descriptor, or a port of a bridge.

use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::{Intent, Link, Traffic};
use steer_core::key::Key;
use steer_core::object::Layer;
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;

use steer_rules::rules::traffic;
use steer_rules::rules::way::Way;
use steer_rules::{listeners, place};

use super::{devices, with_listener};
use crate::notes;

pub(super) fn make(intent: &Intent, host: &Host, layer: Layer) -> Result<Plan, PlanError> {
    everything_is_meant(intent)?;
    findable(&intent.link, layer)?;
    not_for_this_host(&intent.link, host)?;
    // Queries come from elsewhere, as those of machines behind a gateway do.
    traffic::check(intent, host, &Way::Forwarded(Vec::new()))?;
    let mut plan = with_listener(intent, host, layer);
    if intent.link.bridge.is_some() {
        let families = listeners::usable(host);
        plan.push(Life::Steer, devices::outer(intent, &families, false));
    }
    plan.push(Life::Steer, devices::inner(intent, host, false));
    notes::given(intent, &mut plan);
    place::within(intent, host, plan)
}

/// Refuses keys that choose: what comes by such a device is the engine's, and there is no other way
/// for the rest of it.
fn everything_is_meant(intent: &Intent) -> Result<(), PlanError> {
    let Link { fd, bridge, .. } = &intent.link;
    let given = match (fd, bridge) {
        (Some(_), Some(_)) => {
            return Err(PlanError::Together {
                keys: vec![Key::DeviceFd, Key::DeviceBridge],
                why: "a device that others made is a port of what they made it one of".to_owned(),
            });
        }
        (Some(_), None) => Key::DeviceFd,
        (None, _) => Key::DeviceBridge,
    };
    let Traffic { include, .. } = &intent.traffic;
    let every_protocol = Protocol::ALL.iter().all(|p| include.protocols.contains(p));
    let mut keys: Vec<Key> = intent.keys();
    keys.retain(|key| match key {
        Key::Tcp | Key::Udp => !every_protocol,
        key => CHOOSING.contains(key),
    });
    if keys.is_empty() {
        return Ok(());
    }
    keys.push(given);
    Err(PlanError::Together {
        keys,
        why: "whatever comes by the device is for the engine, and has no other way; `rules` say what \
              becomes of each connection"
            .to_owned(),
    })
}

/// Stations have to find the engine.
fn findable(link: &Link, layer: Layer) -> Result<(), PlanError> {
    if layer == Layer::Ip || !link.gateway.is_empty() {
        return Ok(());
    }
    Err(PlanError::Without {
        key: match link.bridge {
            Some(_) => Key::DeviceBridge,
            None => Key::DeviceFd,
        },
        needs: "`device.gateway`, the address of the engine for its stations,",
    })
}

/// A bridge is an interface of this host as well: told of a router there, it would have its own way out
/// by the engine, and the engine's with it.
fn not_for_this_host(link: &Link, host: &Host) -> Result<(), PlanError> {
    let Some(bridge) = link.bridge.as_ref().filter(|_| link.advertise) else {
        return Ok(());
    };
    let mut stations = host.interfaces.iter().filter(|i| i.name == *bridge);
    match stations.any(|interface| interface.takes_advertisements) {
        false => Ok(()),
        true => Err(PlanError::Clash {
            ours: format!("what `device.advertise` says on {bridge}"),
            by: "this host would take its own default route from it, and the engine's dials would come \
                 back to the engine"
                .to_owned(),
            remedy: format!(
                "have this host ignore it: `sysctl -w net.ipv6.conf.{bridge}.accept_ra=0`; or leave out \
                 `device.advertise`"
            ),
        }),
    }
}

/// Keys that choose among what comes by, or have some of it go elsewhere.
const CHOOSING: [Key; 18] = [
    Key::Command,
    Key::Host,
    Key::Cgroup,
    Key::Uid,
    Key::Gid,
    Key::Interface,
    Key::ExcludeProtocols,
    Key::Ports,
    Key::Cidrs,
    Key::IncludeDomains,
    Key::ExcludeDomains,
    Key::LoopbackSkip,
    Key::DnsLeave,
    Key::QuicReject,
    Key::QuicLeave,
    Key::Open,
    Key::Backend,
    Key::Mark,
];
