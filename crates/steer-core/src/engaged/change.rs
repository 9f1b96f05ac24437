//! Another plan in the place of the one that is in force.

use std::collections::BTreeSet;

use super::Engaged;
use crate::intent::Intent;
use crate::keeper::{EngageError, Job};
use crate::object::{Domain, Hooks, Object, Reach};
use crate::plan::{Netns, Plan, Planned};
use crate::symbol::{CgroupRef, Followed};

/// Why another plan did not take the place of the one that is in force.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The plans differ in what lasts as long as either is in force.
    #[error("what lasts as long as the steering would have to change: {what}")]
    Lasts {
        /// What it is, as the plan shows it.
        what: String,
    },
    /// It could not be put in force.
    #[error(transparent)]
    Engage(#[from] EngageError),
}

impl ChangeError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Lasts { .. } => "restart steer to change it".to_owned(),
            Self::Engage(error) => error.help(),
        }
    }
}

impl Engaged {
    /// Puts another plan in the place of the one that is in force: all of it, or nothing.
    ///
    /// The listeners, the slot and the namespaces stay what they are, so that flows that were taken
    /// go on; `names` are the addresses that the plan's names have by now. From its return on, a
    /// crash, [`Engaged::retire`] and [`Engaged::release`] are about this plan and this intent.
    ///
    /// # Errors
    /// What stood stands.
    pub fn change(
        &mut self,
        intent: &Intent,
        plan: &Plan,
        names: Followed,
    ) -> Result<(), ChangeError> {
        if let Some(what) = lasting(&self.plan, plan) {
            return Err(ChangeError::Lasts { what });
        }
        let mut bindings = self.job.bindings.clone();
        bindings.names = names;
        let job = Job {
            method: plan.method,
            on_failure: intent.failure(),
            scope: intent.scope.clone(),
            objects: plan.host_objects(&bindings).map_err(EngageError::from)?,
            bindings,
        };
        self.keeper.commit(&job).map_err(EngageError::from)?;
        self.plan = plan.clone();
        self.job = job;
        Ok(())
    }
}

/// The first thing in which two plans differ that no change reaches while one of them is in force,
/// as the plan shows it: ports, how a command is started, namespaces, marks.
///
/// ```
/// use steer_core::engaged::lasting;
/// use steer_core::method::Method;
/// use steer_core::plan::Plan;
///
/// let plan = Plan::new(Method::Redirect);
/// assert_eq!(lasting(&plan, &plan), None);
/// ```
#[must_use]
pub fn lasting(from: &Plan, to: &Plan) -> Option<String> {
    let held = |plan: &Plan| -> Vec<Planned> {
        let objects = plan.objects.iter().filter(|p| lasts(p.object.domain()));
        objects.cloned().collect()
    };
    let (held_from, held_to) = (held(from), held(to));
    let only = |these: &[Planned], those: &[Planned]| {
        let differing = these.iter().find(|one| !those.contains(one));
        differing.map(|one| match &one.object {
            // What it is told may be a secret.
            Object::Child(_) => "how the command is started".to_owned(),
            _ => one.to_string(),
        })
    };
    if let Some(what) = only(&held_to, &held_from).or_else(|| only(&held_from, &held_to)) {
        return Some(what);
    }
    if from.marked_in() != to.marked_in() {
        return Some("the firewall marks of packets on their way to the engine".to_owned());
    }
    let places = |plan: &Plan| -> BTreeSet<Netns> {
        let objects = plan.objects.iter();
        let objects = objects.filter(|p| p.object.domain() != Domain::Cgroup);
        objects.map(|p| p.netns.clone()).collect()
    };
    if !places(to).is_subset(&places(from)) {
        return Some("the network namespace".to_owned());
    }
    let reaches_all = |plan: &Plan| {
        let mut objects = plan.objects.iter();
        objects.any(|p| matches!(&p.object, Object::Hooks(hooks) if hooks.reach == Reach::All))
    };
    if reaches_all(to) && !reaches_all(from) {
        // Whether there are listeners for them is settled when the first ones are opened.
        return Some("whether programs of other network namespaces are meant".to_owned());
    }
    if attached_twice(from, to) {
        return Some("where programs are attached to the calls of sockets, and how".to_owned());
    }
    // Nobody is there to undo what the first one did not need.
    (to.changes_the_host() && !from.changes_the_host())
        .then(|| "whether anything on the host is changed".to_owned())
}

/// Whether both plans' hooks would meet the same calls while one takes the other's place: those that
/// come first are attached before the others go, and a call that is answered twice is answered wrongly.
fn attached_twice(from: &Plan, to: &Plan) -> bool {
    let hooks = |plan: &Plan| -> Vec<Hooks> {
        let objects = plan.objects.iter();
        let hooks = objects.filter_map(|planned| match &planned.object {
            Object::Hooks(hooks) => Some(hooks.clone()),
            _ => None,
        });
        hooks.collect()
    };
    let (from, to) = (hooks(from), hooks(to));
    let mut pairs = from
        .iter()
        .flat_map(|one| to.iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| {
        let differently = one.on_failure != other.on_failure;
        let mut cgroups = one
            .cgroups
            .iter()
            .flat_map(|a| other.cgroups.iter().map(move |b| (a, b)));
        cgroups.any(|(a, b)| match a == b {
            true => differently,
            false => is_within(a, b) || is_within(b, a),
        })
    })
}

/// Whether a cgroup is below another one.
fn is_within(inner: &CgroupRef, outer: &CgroupRef) -> bool {
    match (inner, outer) {
        (CgroupRef::Path(inner), CgroupRef::Path(outer)) => {
            outer.is_empty()
                || inner
                    .strip_prefix(outer.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        }
        // The command's is below this process's own, which no path names.
        (CgroupRef::Command, CgroupRef::Path(_)) => true,
        (_, CgroupRef::Command) => false,
    }
}

/// Whether objects of a domain are opened or made once.
fn lasts(domain: Domain) -> bool {
    !matches!(
        domain,
        Domain::Cgroup | Domain::Nft | Domain::Iptables | Domain::Route | Domain::Ebpf
    )
}
