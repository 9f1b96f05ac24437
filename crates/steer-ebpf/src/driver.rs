//! The driver of eBPF programs: loads them once a steering, then changes what they do in place.

mod change;
mod loaded;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::os::fd::AsFd;

use steer_core::driver::{Change, Driver, DriverError, Found, Lifeline};
use steer_core::instance::Instance;
use steer_core::intake::Shared;
use steer_core::object::{Domain, Hooks, Lookup, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::Role;
use steer_kernel::cgroup::CgroupTree;

use self::loaded::Loaded;
use crate::error::EbpfError;
use crate::object::OBJECT;
use crate::standing::{Standing, Survey};
use crate::sys;

/// Puts hooks into the kernel's socket layer.
///
/// Under `open` they hang on links, which [`Driver::lifelines`] tells of: they are gone with their
/// last holder. Under `closed` they stay with their cgroups until somebody detaches them; each bears
/// the instance's name, by which a successor replaces it and [`Driver::observe`] finds it.
///
/// ```
/// use steer_core::driver::Driver;
/// use steer_core::object::Domain;
/// use steer_ebpf::driver::EbpfDriver;
/// assert_eq!(EbpfDriver::new().domain(), Domain::Ebpf);
/// ```
#[derive(Debug)]
pub struct EbpfDriver {
    object: &'static [u8],
    loaded: BTreeMap<Netns, Loaded>,
}

/// The objects of a change that are this driver's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ours<'a> {
    hooks: Option<&'a Hooks>,
    lookup: Option<&'a Lookup>,
}

impl EbpfDriver {
    /// A driver that loads the programs when they are first needed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            object: OBJECT,
            loaded: BTreeMap::new(),
        }
    }

    /// A driver of other programs, which have the names of these.
    #[doc(hidden)]
    #[must_use]
    pub const fn of_object(object: &'static [u8]) -> Self {
        Self {
            object,
            loaded: BTreeMap::new(),
        }
    }

    /// The ids of the programs that this driver works with.
    fn own_ids(&self) -> BTreeSet<u32> {
        let programs = self.loaded.values().flat_map(|l| l.programs.values());
        programs
            .filter_map(|fd| sys::program_id(fd.as_fd()).ok())
            .collect()
    }

    /// What a predecessor left attached by itself.
    fn left_by(&self, instance: &Instance) -> Result<(Survey, Vec<Standing>), EbpfError> {
        let survey = Survey::new(&self.own_ids())?.of(instance);
        let standing = survey.standing(&CgroupTree::open()?)?;
        Ok((survey, standing))
    }

    fn put(&mut self, change: &Change<'_>, from: Ours<'_>, to: Ours<'_>) -> Result<(), EbpfError> {
        let Change {
            instance, netns, ..
        } = *change;
        let mut loaded = match self.loaded.remove(netns) {
            // What a predecessor handed over may lack something that it had no room for.
            Some(loaded) if loaded.is_complete() => loaded,
            _ => return self.put_first(instance, netns, to),
        };
        let done = change::apply(&mut loaded, netns, from, to);
        self.loaded.insert(netns.clone(), loaded);
        done
    }

    fn put_first(
        &mut self,
        instance: &Instance,
        netns: &Netns,
        to: Ours<'_>,
    ) -> Result<(), EbpfError> {
        let (survey, left) = match self.left_by(instance) {
            Ok(left) => left,
            // Who may load programs need not be allowed to list them.
            Err(error @ EbpfError::List { .. }) => {
                let error = &error as &dyn Error;
                tracing::warn!(error, "whether a predecessor left hooks cannot be told");
                (Survey::default(), Vec::new())
            }
            Err(error) => return Err(error),
        };
        let mut loaded = Loaded::new(self.object, instance)?;
        change::apply(&mut loaded, netns, Ours::default(), to)?;
        // Both act for a moment: what was left refuses, since its engine is gone.
        for (index, standing) in left.iter().enumerate() {
            if let Err(error) = survey.detach(standing) {
                let stays = left.len() - index;
                tracing::warn!(stays, "hooks of a predecessor stay");
                change::apply(&mut loaded, netns, to, Ours::default())?;
                return Err(error);
            }
        }
        self.loaded.insert(netns.clone(), loaded);
        Ok(())
    }

    fn clear(&mut self, change: &Change<'_>, from: Ours<'_>) -> Result<(), EbpfError> {
        let Change {
            instance, netns, ..
        } = *change;
        if let Some(mut loaded) = self.loaded.remove(netns) {
            if let Err(error) = change::apply(&mut loaded, netns, from, Ours::default()) {
                self.loaded.insert(netns.clone(), loaded);
                return Err(error);
            }
            return Ok(());
        }
        // Nothing is known of what stands: it was another process's.
        let (survey, left) = self.left_by(instance)?;
        left.iter().try_for_each(|standing| survey.detach(standing))
    }
}

impl Default for EbpfDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver for EbpfDriver {
    fn domain(&self) -> Domain {
        Domain::Ebpf
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let (from, to) = (ours(change.from)?, ours(change.to)?);
        match to == Ours::default() {
            true => self.clear(change, from)?,
            false => self.put(change, from, to)?,
        }
        Ok(())
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        // Cgroups are in no network namespace; told once, for the one we are in.
        if *netns != Netns::Here {
            return Ok(Vec::new());
        }
        let tree = CgroupTree::open().map_err(EbpfError::from)?;
        let standing = Survey::new(&BTreeSet::new())?.standing(&tree)?;
        let found = standing.into_iter().map(|standing| Found {
            domain: Domain::Ebpf,
            netns: Netns::Here,
            what: what(&standing.path),
            instance: Some(standing.instance),
            role: Some(Role::Guard),
        });
        Ok(found.collect())
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Some(instance) = &found.instance else {
            let what = found.what.clone();
            return Err(EbpfError::Misplaced { what }.into());
        };
        let survey = Survey::new(&BTreeSet::new())?.of(instance);
        let tree = CgroupTree::open().map_err(EbpfError::from)?;
        for standing in survey.standing(&tree)? {
            if what(&standing.path) == found.what {
                survey.detach(&standing)?;
            }
        }
        Ok(())
    }

    fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let mut all = Vec::new();
        for (netns, loaded) in &self.loaded {
            for (label, fd) in loaded.parts() {
                all.push(Lifeline {
                    domain: Domain::Ebpf,
                    netns: netns.clone(),
                    label,
                    fd: fd.try_clone()?,
                });
            }
        }
        Ok(all)
    }

    fn shared(&self) -> io::Result<Vec<Shared>> {
        let maps = self.loaded.values().flat_map(|l| l.maps.iter());
        maps.map(|(name, fd)| {
            Ok(Shared {
                label: name.to_owned(),
                fd: fd.try_clone()?,
            })
        })
        .collect()
    }

    fn adopt(&mut self, lifeline: Lifeline) {
        let Lifeline {
            domain: _,
            netns,
            label,
            fd,
        } = lifeline;
        self.loaded.entry(netns).or_default().adopt(&label, fd);
    }
}

/// The hooks and the lookup of a list, which has one of each at most.
fn ours(objects: &[Object]) -> Result<Ours<'_>, EbpfError> {
    let mut ours = Ours::default();
    for object in objects {
        let twice = match object {
            Object::Hooks(hooks) => ours.hooks.replace(hooks).is_some(),
            Object::Lookup(lookup) => ours.lookup.replace(lookup).is_some(),
            _ => true,
        };
        if twice {
            return Err(EbpfError::Misplaced {
                what: object.to_string(),
            });
        }
    }
    Ok(ours)
}

fn what(path: &str) -> String {
    format!("socket hooks on cgroup /{path}")
}
