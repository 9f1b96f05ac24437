//! The method `tap`: packets by a device with a link layer, for machines that have one.

use std::io;

use async_trait::async_trait;
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::object::Layer;
use steer_core::plan::Plan;
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer, admit};

use crate::{drivers, intake, plan, probe, profile, requirements};

/// Steering by a TAP device: of this host by a mark and a policy route, or of the stations of a bridge.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_tun::Tap;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Tap.plan(&intent, &Host::example())?;
/// assert!(plan.to_string().contains("route ipv4 default via 192.0.0.66 dev tap-demo table {table}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tap;

#[async_trait]
impl Steerer for Tap {
    fn profile(&self) -> &'static Profile {
        &profile::TAP
    }

    fn requirements(&self, intent: &Intent, host: &Host) -> Vec<Requirement> {
        requirements::of(intent, host, Layer::Ethernet)
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        plan::make(intent, host, Layer::Ethernet)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        drivers::all()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::of(intent, bound)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::really(self, intent).await
    }
}
