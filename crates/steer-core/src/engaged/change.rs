//! Another plan in the place of the one that is in force.

use std::collections::BTreeSet;

use super::Engaged;
use crate::intent::Intent;
use crate::keeper::{EngageError, Job};
use crate::object::{Domain, Object, Reach};
use crate::plan::{Netns, Plan, Planned};
use crate::symbol::Followed;

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
    // Nobody is there to undo what the first one did not need.
    (to.changes_the_host() && !from.changes_the_host())
        .then(|| "whether anything on the host is changed".to_owned())
}

/// Whether objects of a domain are opened or made once.
fn lasts(domain: Domain) -> bool {
    !matches!(
        domain,
        Domain::Cgroup | Domain::Nft | Domain::Iptables | Domain::Route | Domain::Ebpf
    )
}
