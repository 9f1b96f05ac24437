//! The plan of an intent that was admitted.

mod check;
mod listeners;
mod place;
mod traffic;

use steer_core::address::Family;
use steer_core::host::Host;
use steer_core::intent::{Intent, OnFailure};
use steer_core::method::Method;
use steer_core::object::{
    ChildSetting, Hooks, LOCAL_TABLE, Leads, Lookup, Object, Reach, Route, token_net,
};
use steer_core::plan::{Life, Plan};
use steer_core::steerer::PlanError;
use steer_core::symbol::{CgroupRef, TableRef};

use crate::notes;

pub(crate) use traffic::hooked;

/// What would be done.
pub(crate) fn make(intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
    check::all(intent, host)?;
    let families = usable(host);
    let mut plan = Plan::new(Method::Ebpf);
    if intent.scope.of.inbound {
        lookup(intent, &families, &mut plan);
        notes::inbound(intent, host, &mut plan);
    } else {
        hooks(intent, host, &families, &mut plan)?;
    }
    place::within(intent, host, plan)
}

/// Hooks for what programs here send, and all that they lead to.
fn hooks(
    intent: &Intent,
    host: &Host,
    families: &[Family],
    plan: &mut Plan,
) -> Result<(), PlanError> {
    let ports = listeners::outbound(intent);
    if ports.is_empty() && intent.listen.external.is_none() {
        return Err(PlanError::Nothing {
            why: "TCP and UDP are excluded, and ebpf steers nothing else".to_owned(),
        });
    }
    for object in listeners::objects(intent, &ports, families) {
        plan.push(Life::Steer, object);
    }
    if intent.listen.external.is_some() {
        plan.push(Life::Steer, listeners::upkeep());
    }
    let place::Place {
        cgroups,
        within,
        made,
        reach,
    } = place::of(intent, host);
    if intent.scope.command {
        plan.push(Life::Support, Object::Cgroup(CgroupRef::Command));
        plan.push(
            Life::Steer,
            Object::Child(ChildSetting::Cgroup(CgroupRef::Command)),
        );
    }
    for object in made {
        plan.push(Life::Support, object);
    }
    if families.contains(&Family::V6) {
        plan.push(
            Life::Support,
            Object::Route(Route {
                family: Family::V6,
                net: Some(token_net(Family::V6)),
                table: TableRef::Fixed(LOCAL_TABLE),
                to: Leads::Here,
            }),
        );
    }
    let life = match intent.failure() {
        OnFailure::Open => Life::Steer,
        OnFailure::Closed => Life::Guard,
    };
    let pools = intent.resolve.fake.as_ref().map(|fake| &fake.pools);
    plan.push(
        life,
        Object::Hooks(Hooks {
            cgroups,
            scope: place::scope(intent, host),
            within,
            traffic: hooked(intent),
            names: Default::default(),
            made_up: pools.map_or_else(Vec::new, Clone::clone),
            reach,
            families: families.to_vec(),
            entrances: listeners::entrances(intent, &ports),
            bypass: intent.bypass,
            on_failure: intent.failure(),
            takes: true,
        }),
    );
    notes::outbound(intent, host, reach, plan);
    Ok(())
}

/// The lookup for what comes here.
fn lookup(intent: &Intent, families: &[Family], plan: &mut Plan) {
    plan.push(Life::Steer, listeners::inbound(intent, families));
    let life = match intent.failure() {
        OnFailure::Open => Life::Steer,
        OnFailure::Closed => Life::Guard,
    };
    plan.push(
        life,
        Object::Lookup(Lookup {
            ports: intent.traffic.include.ports.clone(),
            except: intent.traffic.exclude.ports.clone(),
            from: Vec::new(),
            port: listeners::inbound_port(),
            families: families.to_vec(),
            on_failure: intent.failure(),
            takes: true,
        }),
    );
}

/// The families to steer: IPv4 always, IPv6 where there is an address to listen on.
pub(crate) fn usable(host: &Host) -> Vec<Family> {
    Family::ALL
        .into_iter()
        .filter(|f| *f == Family::V4 || host.families.contains(f))
        .collect()
}

/// Whether hooks of the intent act in network namespaces beside the one of the engine.
pub(crate) fn reach(intent: &Intent) -> Reach {
    place::reach(intent)
}
