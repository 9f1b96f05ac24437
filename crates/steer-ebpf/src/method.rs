//! The method `ebpf`: its place behind the seam.

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
use steer_kernel::cgroup::CgroupDriver;
use steer_kernel::route::RouteDriver;

use crate::driver::EbpfDriver;
use crate::{intake, plan, probe, profile, requirements};

/// Steering by programs at the kernel's socket calls.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// use steer_ebpf::Ebpf;
///
/// let intent = Intent::new(Instance::new("demo")?, Scope::command());
/// let plan = Ebpf.plan(&intent, &Host::example())?;
/// assert!(plan.to_string().contains("socket hooks on cgroup {command}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ebpf;

#[async_trait]
impl Steerer for Ebpf {
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
        vec![
            Box::new(CgroupDriver::new()),
            Box::new(RouteDriver::new()),
            Box::new(EbpfDriver::new()),
        ]
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::of(intent, bound)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::really(intent).await
    }
}
