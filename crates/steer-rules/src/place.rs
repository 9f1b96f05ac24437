//! Where a plan's objects live: the command's cgroup, the namespace of the scope.

use steer_core::host::{Host, Namespace};
use steer_core::intent::Intent;
use steer_core::key::Key;
use steer_core::object::{ChildSetting, Domain, Object};
use steer_core::plan::{Life, Netns, Plan};
use steer_core::steerer::PlanError;
use steer_core::symbol::CgroupRef;

/// Adds the cgroup of the command, where there is one.
pub fn command(intent: &Intent, plan: &mut Plan) {
    if intent.scope.command {
        plan.push(Life::Support, Object::Cgroup(CgroupRef::Command));
        plan.push(
            Life::Steer,
            Object::Child(ChildSetting::Cgroup(CgroupRef::Command)),
        );
    }
}

/// The plan in the namespace of the scope; cgroups and the command are in none.
pub fn within(intent: &Intent, host: &Host, mut plan: Plan) -> Result<Plan, PlanError> {
    let Some(name) = &intent.scope.of.netns else {
        return Ok(plan);
    };
    let Some(Namespace::At(path)) = host.netns.get(name) else {
        return Err(PlanError::Without {
            key: Key::Netns,
            needs: "a host that tells where the namespace is",
        });
    };
    for planned in &mut plan.objects {
        if !matches!(planned.object.domain(), Domain::Cgroup | Domain::Child) {
            planned.netns = Netns::Path(path.clone());
        }
    }
    Ok(plan)
}
