//! The method `seccomp`.

use std::io;

use async_trait::async_trait;
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::plan::Plan;
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer, admit};

use crate::{intake, plan, probe, profile, requirements};

/// Steering by a supervisor that answers the command's socket calls (seccomp_unotify(2)).
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_seccomp::Seccomp;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Seccomp.plan(&intent, &Host::example())?;
/// assert!(!plan.changes_the_host());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Seccomp;

#[async_trait]
impl Steerer for Seccomp {
    fn profile(&self) -> &'static Profile {
        &profile::PROFILE
    }

    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement> {
        requirements::of(intent, host)
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        plan::make(intent, host)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        Vec::new()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::of(intent, bound)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::really(intent).await
    }
}
