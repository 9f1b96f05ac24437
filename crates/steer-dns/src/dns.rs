//! The method `dns` alone: each chosen name answers with an address of this host, and the engine
//! listens there.

use std::io;

use async_trait::async_trait;
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::plan::Plan;
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer};

mod connections;
mod flows;
mod intake;
mod plan;
mod probe;
mod profile;
mod requirements;

/// Steering by the answers of a resolver.
///
/// Its connections come with the address that stands for their name; what [`crate::for_plan`]
/// gives tells the name.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
///
/// let mut intent = Intent::new(Instance::new("demo").unwrap(), Scope::default());
/// intent.traffic.include.domains = vec!["db.example".parse().unwrap()];
/// let plan = steer_dns::Dns.plan(&intent, &Host::example()).unwrap();
/// assert!(plan.to_string().contains("db.example is 127.83.0.2"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns;

#[async_trait]
impl Steerer for Dns {
    fn profile(&self) -> &'static Profile {
        &profile::PROFILE
    }

    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement> {
        requirements::of(intent, host)
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        plan::make(self, intent, host)
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
