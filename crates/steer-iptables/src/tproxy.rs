//! The method `tproxy`: mangle TPROXY, whose sockets have the destination's own address.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::netns::Inside;
use steer_core::plan::Plan;
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer, admit};
use steer_core::transparent;

use steer_rules::owner;
use steer_rules::probe::Towards;

mod plan;
mod profile;
mod rules;

/// Steering by mangle TPROXY, a mark and a policy route.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_iptables::Tproxy;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Tproxy.plan(&intent, &Host::example())?;
/// assert!(plan.to_string().contains("tproxy to :{outbound} mark {mark}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tproxy;

#[async_trait]
impl Steerer for Tproxy {
    fn profile(&self) -> &'static Profile {
        &profile::PROFILE
    }

    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement> {
        steer_rules::requirements::transparent(intent, host)
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        plan::make(intent, host)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        steer_rules::backend::drivers()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        let inside = Arc::new(Inside::of(&bound.netns)?);
        let owner = owner::of(intent, &bound.netns)?;
        transparent::intake(intent, bound, inside, owner)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        steer_rules::probe::really(self, intent, Towards::Loopback).await
    }
}
