//! Where hooks are: cgroups, and network namespaces.

use steer_core::host::{Host, Namespace};
use steer_core::intent::{Intent, Scope, Selector};
use steer_core::key::Key;
use steer_core::object::{Domain, Object, Reach};
use steer_core::plan::{Netns, Plan};
use steer_core::steerer::PlanError;
use steer_core::symbol::CgroupRef;
use steer_kernel::cgroup::command_cgroup;

/// The cgroups of a plan.
pub(super) struct Place {
    /// Where the hooks are.
    pub(super) cgroups: Vec<CgroupRef>,
    /// To which a process has to belong beside that.
    pub(super) within: Vec<CgroupRef>,
    /// What is made for it.
    pub(super) made: Vec<Object>,
    /// In which network namespaces.
    pub(super) reach: Reach,
}

/// The cgroups for the scope of an intent that was checked.
pub(super) fn of(intent: &Intent, host: &Host) -> Place {
    let (scope, reach) = (&intent.scope, reach(intent));
    let named: Vec<_> = paths(&scope.of.cgroup, host).map(CgroupRef::Path).collect();
    if scope.command {
        return Place {
            cgroups: vec![CgroupRef::Command],
            within: named,
            made: Vec::new(),
            reach,
        };
    }
    if !scope.of.pid.is_empty() {
        return adopted(intent, host, reach);
    }
    let cgroups = match named.is_empty() {
        // The root, with everybody.
        true => vec![CgroupRef::Path(String::new())],
        false => named,
    };
    Place {
        cgroups,
        within: Vec::new(),
        made: Vec::new(),
        reach,
    }
}

/// Running processes get a cgroup below the one that they are in. Hooks at the latter see sockets
/// that were made before as well; who is meant is told by the process's own cgroup.
fn adopted(intent: &Intent, host: &Host, reach: Reach) -> Place {
    let mut place = Place {
        cgroups: Vec::new(),
        within: Vec::new(),
        made: Vec::new(),
        reach,
    };
    for pid in &intent.scope.of.pid {
        let Some(Some(former)) = host.processes.get(pid) else {
            continue;
        };
        let name = command_cgroup(&intent.instance);
        let below = match former.is_empty() {
            true => name,
            false => format!("{former}/{name}"),
        };
        let (former, below) = (CgroupRef::Path(former.clone()), CgroupRef::Path(below));
        if !place.within.contains(&below) {
            place.made.push(Object::Cgroup(below.clone()));
            place.made.push(Object::Members {
                cgroup: below.clone(),
                pids: Vec::new(),
            });
            place.cgroups.push(former);
            place.within.push(below.clone());
        }
        for made in &mut place.made {
            if let Object::Members { cgroup, pids } = made
                && *cgroup == below
            {
                pids.push(*pid);
            }
        }
    }
    place
}

/// The scope with cgroups in the place of units.
pub(super) fn scope(intent: &Intent, host: &Host) -> Scope {
    let Scope {
        command,
        of,
        except,
    } = &intent.scope;
    let known = |selector: &Selector| Selector {
        cgroup: paths(&selector.cgroup, host).collect(),
        ..selector.clone()
    };
    Scope {
        command: *command,
        of: known(of),
        except: known(except),
    }
}

fn paths<'a>(cgroups: &'a [String], host: &'a Host) -> impl Iterator<Item = String> + 'a {
    cgroups
        .iter()
        .map(|name| host.units.get(name).unwrap_or(name).clone())
}

/// In which network namespaces hooks of an intent act. Another proxy listens in one alone.
pub(super) fn reach(intent: &Intent) -> Reach {
    let Scope { command, of, .. } = &intent.scope;
    let by_cgroup = *command || !of.cgroup.is_empty() || !of.pid.is_empty();
    match by_cgroup && of.netns.is_none() && intent.listen.external.is_none() {
        true => Reach::All,
        false => Reach::Here,
    }
}

/// The plan in the namespace of the scope; cgroups and the command are in none.
pub(super) fn within(intent: &Intent, host: &Host, mut plan: Plan) -> Result<Plan, PlanError> {
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
