use steer_core::address::Protocol;
use steer_core::host::Host;
use steer_core::intent::{Backend, Intent};
use steer_core::key::Key;
use steer_core::masks;
use steer_core::method::Method;
use steer_core::object::{ChildSetting, Namespace, Object};
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;
use steer_core::symbol::ProcessRef;

use crate::listeners::Entry;
use crate::rules::{Rules, local_resolvers};
use crate::{network, notes, publish};

/// The plan of an intent that was admitted.
pub(crate) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    check(intent)?;
    let families = network::families(host);
    let entries = Entry::of(intent);
    let mut plan = Plan::new(Method::Netns);
    let namespace = Namespace {
        addresses: families.iter().map(|f| network::address(*f)).collect(),
        masked: masks::paths(host),
    };
    plan.push(Life::Support, Object::Namespace(namespace));
    for entry in &entries {
        for protocol in Protocol::ALL {
            let listener = entry.listener(protocol, intent, &families);
            plan.push_inside(Life::Steer, Object::Listener(listener));
        }
    }
    for port in &intent.confine.publish {
        plan.push(Life::Steer, Object::Listener(publish::listener(port)));
    }
    let rules = Rules {
        intent,
        families: &families,
        entries: &entries,
        resolvers: local_resolvers(host, &families),
    };
    plan.push_inside(Life::Steer, Object::Nft(rules.ruleset()));
    for setting in [
        ChildSetting::Enter(ProcessRef::Holder),
        ChildSetting::confined_families(),
    ] {
        plan.push(Life::Steer, Object::Child(setting));
    }
    notes::all(intent, host, &rules.resolvers, &mut plan);
    Ok(plan)
}

/// Refuses values that would leave something out, or ask for another packet filter, of keys that
/// can be honoured otherwise.
fn check(intent: &Intent) -> Result<(), PlanError> {
    let included = &intent.traffic.include.protocols;
    let one_alone = match included.as_slice() {
        [] => None,
        some if Protocol::ALL.iter().all(|p| some.contains(p)) => None,
        [Protocol::Tcp, ..] => Some(Key::Tcp),
        [Protocol::Udp, ..] => Some(Key::Udp),
    };
    let backend = match intent.backend {
        Some(Backend::Iptables | Backend::IptablesLegacy) => Some(Key::Backend),
        Some(Backend::Nft) | None => None,
    };
    let keys: Vec<Key> = one_alone.into_iter().chain(backend).collect();
    match keys.is_empty() {
        true => Ok(()),
        false => Err(PlanError::Keys {
            method: Method::Netns,
            keys,
        }),
    }
}
