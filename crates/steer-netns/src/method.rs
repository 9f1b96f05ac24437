//! The method `netns`.

use std::io;

use async_trait::async_trait;
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::{Dial, Intent};
use steer_core::object::Listener;
use steer_core::plan::Plan;
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer, admit};
use steer_kernel::nft::NftDriver;

use crate::{intake, plan, probe, profile, publish, requirements};

/// Steering by a network namespace in which every address is local.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_netns::Netns;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Netns.plan(&intent, &Host::example())?;
/// assert!(plan.namespace().is_some());
/// assert!(!plan.changes_the_host());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Netns;

#[async_trait]
impl Steerer for Netns {
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
        vec![Box::new(NftDriver::new())]
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::of(intent, bound)
    }

    fn dials(&self, listener: &Listener) -> Dial {
        match publish::is_published(listener) {
            true => Dial::Inside,
            false => Dial::Outside,
        }
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::really(intent).await
    }
}
