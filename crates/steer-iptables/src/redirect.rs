//! The method `redirect`: nat REDIRECT on the way out or in, SO_ORIGINAL_DST at the listener.

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

use steer_rules::probe::Towards;

mod datagrams;
mod intake;
mod origin;
mod plan;
mod profile;
mod rules;

/// Steering by nat REDIRECT.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_iptables::Redirect;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Redirect.plan(&intent, &Host::example())?;
/// assert!(plan.to_string().contains("redirect to :{outbound}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Redirect;

#[async_trait]
impl Steerer for Redirect {
    fn profile(&self) -> &'static Profile {
        &profile::PROFILE
    }

    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement> {
        steer_rules::requirements::common(intent, host)
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        plan::make(intent, host)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        steer_rules::backend::drivers()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::of(intent, bound)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        steer_rules::probe::really(self, intent, Towards::Loopback).await
    }
}
