//! The drivers as a set: one change over all domains and namespaces, all of it or nothing.

pub(crate) mod claims;
mod kernel;
pub(crate) mod netns;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use steer_core::driver::{Change, Driver, DriverError, Found, Lifeline};
use steer_core::instance::Instance;
use steer_core::intake::Shared;
use steer_core::keeper::{Job, KeeperError};
use steer_core::object::Domain;
use steer_core::plan::{Netns, Planned};

use self::claims::Claim;
pub(crate) use self::kernel::Borrowed;
use self::kernel::Kernel;
use self::step::{Step, steps};
use crate::cgroup::CgroupDriver;
use crate::device::DeviceDriver;
use crate::iptables::IptablesDriver;
use crate::nft::NftDriver;
use crate::route::RouteDriver;

/// Drivers, one a domain.
///
/// ```
/// use steer_core::address::Family;
/// use steer_core::instance::Instance;
/// use steer_core::object::Object;
/// use steer_core::plan::{Life, Netns, Planned};
/// use steer_core::ruleset::{Role, Ruleset};
/// use steer_kernel::fake::FakeHost;
///
/// let host = FakeHost::new();
/// let mut drivers = host.drivers();
/// let main = Instance::new("main").unwrap();
/// let rules = Ruleset { role: Role::Steer, families: Family::ALL.to_vec(), chains: vec![] };
/// let plan = [Planned { netns: Netns::Here, life: Life::Steer, object: Object::Nft(rules) }];
/// drivers.set_all(&main, &[], &plan).unwrap();
/// assert_eq!(drivers.observe(&Netns::Here).0.len(), 1);
/// drivers.set_all(&main, &plan, &[]).unwrap();
/// assert_eq!(host.state(), FakeHost::new().state());
/// ```
#[derive(Debug)]
pub struct Drivers {
    drivers: Vec<Box<dyn Driver>>,
    /// None where the host exists only in memory.
    kernel: Option<Kernel>,
}

impl Drivers {
    /// A set of drivers of this host; of several for one domain the first counts.
    #[must_use]
    pub fn new(drivers: Vec<Box<dyn Driver>>) -> Self {
        Self {
            drivers,
            kernel: Some(Kernel::default()),
        }
    }

    /// A set of drivers of a host in memory, where a namespace is no more than its path.
    pub(crate) const fn in_memory(drivers: Vec<Box<dyn Driver>>) -> Self {
        Self {
            drivers,
            kernel: None,
        }
    }

    /// Holds the namespaces of these objects until [`Drivers::let_go`], so that their paths mean
    /// the same ones until then, and gives each path's identity.
    pub fn hold(&mut self, objects: &[Planned]) -> Result<Identities, DriverError> {
        let mut identities = Identities::new();
        for planned in objects {
            if let Netns::Path(path) = &planned.netns
                && !identities.contains_key(path)
            {
                let id = match &mut self.kernel {
                    Some(kernel) => kernel.hold(path)?,
                    // In memory, a path is all that there is.
                    None => path.clone(),
                };
                identities.insert(path.clone(), id);
            }
        }
        Ok(identities)
    }

    /// Holds a namespace that somebody has opened, as [`Drivers::hold`] does.
    pub(crate) fn hold_opened(&mut self, path: &str, fd: OwnedFd) {
        if let Some(kernel) = &mut self.kernel {
            kernel.hold_opened(path, fd);
        }
    }

    /// Claims what a job has for itself, in every network namespace that it has objects in, until
    /// [`Drivers::let_go`].
    pub(crate) fn claim(&mut self, job: &Job) -> Result<(), KeeperError> {
        let Some(kernel) = &mut self.kernel else {
            // In memory, journals tell of everybody.
            return Ok(());
        };
        let objects = job.objects.iter();
        let places: BTreeSet<&Netns> = objects
            .filter(|planned| planned.object.domain() != Domain::Cgroup)
            .map(|planned| &planned.netns)
            .collect();
        for netns in places {
            for claim in Claim::of(&job.bindings) {
                if !kernel.claim(netns, &claim)? {
                    return Err(match claim {
                        Claim::Name(instance) => KeeperError::NameHeld { instance },
                        Claim::Slot(number) => KeeperError::SlotHeld { number },
                        Claim::Mark(mark) => KeeperError::MarkHeld { mark },
                    });
                }
            }
        }
        Ok(())
    }

    /// Claims something for a while.
    pub(crate) fn borrow(&self, netns: &Netns, claim: &Claim) -> Result<Borrowed, DriverError> {
        match &self.kernel {
            Some(kernel) => kernel.borrow(netns, claim),
            None => Ok(Borrowed::Ours(None)),
        }
    }

    /// Lets the namespaces go that were held, and what was claimed in them.
    pub fn let_go(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            kernel.let_go();
        }
    }

    /// The identity of a namespace: of the one that is held for its path, or that it leads to.
    pub fn identity(&self, netns: &Netns) -> io::Result<String> {
        match (&self.kernel, netns) {
            (None, Netns::Path(path)) => Ok(path.clone()),
            _ => netns::identity(netns),
        }
    }

    /// Changes an instance's objects from what stands to what shall stand.
    ///
    /// What carries others is made first, then what refuses, then what steers, and removed in the
    /// reverse order; what stays within a domain is changed in one transaction there.
    ///
    /// # Errors
    /// What was done is undone. Where undoing fails as well, the error tells of that too.
    pub fn set_all(
        &mut self,
        instance: &Instance,
        from: &[Planned],
        to: &[Planned],
    ) -> Result<(), DriverError> {
        let steps = steps(from, to);
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = self.set(instance, step) {
                let undone = steps[..index].iter().rev().map(Step::inverse);
                let failures: Vec<DriverError> = undone
                    .filter_map(|step| self.set(instance, &step).err())
                    .collect();
                return Err(joined(error, &failures));
            }
        }
        if let Some(kernel) = &self.kernel {
            kernel.forget_flows(from, to);
        }
        Ok(())
    }

    /// Makes conntrack forget flows that objects took which others have removed.
    pub(crate) fn forget_flows(&self, gone: &[Planned]) {
        if let Some(kernel) = &self.kernel {
            kernel.forget_flows(gone, &[]);
        }
    }

    /// The TCP connections that these objects brought to devices, by namespace: who connected, and
    /// where to.
    pub(crate) fn flows_by_device(
        &self,
        objects: &[Planned],
    ) -> Vec<(Netns, Vec<(SocketAddr, SocketAddr)>)> {
        let kernel = self.kernel.as_ref();
        kernel.map_or_else(Vec::new, |kernel| kernel.flows_by_device(objects))
    }

    /// What of ours a namespace holds, and which drivers could not look.
    pub fn observe(&mut self, netns: &Netns) -> (Vec<Found>, Vec<DriverError>) {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for driver in &mut self.drivers {
            match driver.observe(netns) {
                Ok(more) => found.extend(more),
                Err(error) => errors.push(error),
            }
        }
        (found, errors)
    }

    /// Removes what [`Drivers::observe`] found.
    pub fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        self.driver(found.domain)?.remove(found)
    }

    /// Duplicates of every driver's lifelines, of the namespaces that are held, and of the claims.
    pub fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let mut lifelines = match &self.kernel {
            Some(kernel) => kernel.lifelines()?,
            None => Vec::new(),
        };
        for driver in &self.drivers {
            lifelines.extend(driver.lifelines()?);
        }
        Ok(lifelines)
    }

    /// What every driver shares of what it made.
    pub fn shared(&self) -> io::Result<Vec<Shared>> {
        let mut shared = Vec::new();
        for driver in &self.drivers {
            shared.extend(driver.shared()?);
        }
        Ok(shared)
    }

    /// Hands a lifeline to its driver; one that no driver knows is closed.
    pub fn adopt(&mut self, lifeline: Lifeline) {
        let rest = match &mut self.kernel {
            Some(kernel) => kernel.adopt(lifeline).err(),
            None => Some(lifeline),
        };
        if let Some(lifeline) = rest
            && let Ok(driver) = self.driver(lifeline.domain)
        {
            driver.adopt(lifeline);
        }
    }

    fn set(&mut self, instance: &Instance, step: &Step) -> Result<(), DriverError> {
        let Step {
            netns,
            domain,
            from,
            to,
        } = step;
        let in_it = !matches!(domain, Domain::Cgroup | Domain::Ebpf);
        if in_it && to.is_empty() && self.kernel.is_some() && netns::is_gone(netns) {
            // The kernel removed what was in it.
            return Ok(());
        }
        self.driver(*domain)?.set(&Change {
            instance,
            netns,
            from,
            to,
        })
    }

    fn driver(&mut self, domain: Domain) -> Result<&mut Box<dyn Driver>, DriverError> {
        self.drivers
            .iter_mut()
            .find(|driver| driver.domain() == domain)
            .ok_or_else(|| {
                DriverError::new(
                    domain,
                    format!("this build of steer has no driver for {domain}"),
                    "use a build with every method: cargo install steer-cli --all-features",
                )
            })
    }
}

/// Paths of namespaces with what they lead to, as `dev:inode`.
pub type Identities = BTreeMap<String, String>;

impl Default for Drivers {
    /// The real drivers of this crate: cgroups, devices, routes, nf_tables, iptables.
    fn default() -> Self {
        Self::new(vec![
            Box::new(CgroupDriver::new()),
            Box::new(RouteDriver::new()),
            Box::new(DeviceDriver::new()),
            Box::new(NftDriver::new()),
            Box::new(IptablesDriver::new()),
        ])
    }
}

/// A failure with those of undoing what was done before it.
fn joined(error: DriverError, undoing: &[DriverError]) -> DriverError {
    if undoing.is_empty() {
        return error;
    }
    let DriverError {
        domain,
        what,
        help,
        source,
    } = error;
    let stays: Vec<String> = undoing.iter().map(ToString::to_string).collect();
    DriverError {
        domain,
        what: format!(
            "{what}; and what was done before it stays: {}",
            stays.join("; ")
        ),
        help: format!("{help}; then run steer clean"),
        source,
    }
}
