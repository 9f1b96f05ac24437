//! The driver that makes and removes cgroups.

use std::error::Error;

use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::object::{Domain, Object};
use steer_core::plan::Netns;
use steer_core::symbol::CgroupRef;

use super::members::take_in;
use super::{CgroupError, CgroupTree, Inhabitants, PREFIX};

/// Makes the cgroups of a plan.
///
/// Cgroups belong to no network namespace; the namespace of a change is not looked at. Removing
/// one moves the processes that are left in it to its parent: steering ends, they go on. Processes
/// that a cgroup takes in are moved once, when that begins to be asked for.
#[derive(Debug, Default)]
pub struct CgroupDriver {
    tree: Option<CgroupTree>,
}

impl CgroupDriver {
    /// A driver that opens the hierarchy when it is first needed.
    #[must_use]
    pub const fn new() -> Self {
        Self { tree: None }
    }

    fn tree(&mut self) -> Result<&CgroupTree, DriverError> {
        if self.tree.is_none() {
            self.tree = Some(CgroupTree::open().map_err(explain)?);
        }
        Ok(self.tree.as_ref().expect("it was opened above"))
    }
}

impl Driver for CgroupDriver {
    fn domain(&self) -> Domain {
        Domain::Cgroup
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let (from, to) = (paths(change.from)?, paths(change.to)?);
        let tree = self.tree()?;
        let mut made: Vec<&str> = Vec::new();
        for path in &to {
            let stood = tree.cgroup(path).is_ok();
            if let Err(error) = tree.create(path) {
                for path in made.into_iter().rev() {
                    if let Err(error) = tree.remove(path, Inhabitants::Stay) {
                        tracing::warn!(path, error = &error as &dyn Error, "a cgroup stays");
                    }
                }
                return Err(explain(error));
            }
            if !stood {
                made.push(path);
            }
        }
        for (path, pids) in members(change.to).filter(|m| !members(change.from).any(|n| n == *m)) {
            if let Err(error) = take_in(tree, path, pids) {
                for path in made.into_iter().rev() {
                    if let Err(error) = tree.remove(path, Inhabitants::ToParent) {
                        tracing::warn!(path, error = &error as &dyn Error, "a cgroup stays");
                    }
                }
                return Err(explain(error));
            }
        }
        let mut removed: Vec<&str> = Vec::new();
        for path in from.iter().rev().filter(|path| !to.contains(path)) {
            if let Err(error) = tree.remove(path, Inhabitants::ToParent) {
                for path in removed.into_iter().rev() {
                    if let Err(error) = tree.create(path) {
                        tracing::warn!(path, error = &error as &dyn Error, "a cgroup is gone");
                    }
                }
                return Err(explain(error));
            }
            removed.push(path);
        }
        Ok(())
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        // They are in no network namespace; reported once, for the one we are in.
        if *netns != Netns::Here {
            return Ok(Vec::new());
        }
        let paths = self.tree()?.find(PREFIX).map_err(explain)?;
        Ok(paths
            .into_iter()
            .filter_map(|path| {
                let name = path.rsplit('/').next()?.strip_prefix(PREFIX)?;
                Some(Found {
                    domain: Domain::Cgroup,
                    netns: Netns::Here,
                    instance: Some(Instance::new(name).ok()?),
                    role: None,
                    what: format!("{WHAT}{path}"),
                })
            })
            .collect())
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Some(path) = found.what.strip_prefix(WHAT) else {
            return Err(misplaced(&found.what));
        };
        self.tree()?
            .remove(path, Inhabitants::ToParent)
            .map_err(explain)
    }
}

fn paths(objects: &[Object]) -> Result<Vec<&str>, DriverError> {
    let mut paths = Vec::new();
    for object in objects {
        match object {
            Object::Cgroup(CgroupRef::Path(path)) => paths.push(path.as_str()),
            Object::Members {
                cgroup: CgroupRef::Path(_),
                ..
            } => {}
            other => return Err(misplaced(&other.to_string())),
        }
    }
    Ok(paths)
}

/// The processes that cgroups take in.
fn members(objects: &[Object]) -> impl Iterator<Item = (&str, &[u32])> {
    objects.iter().filter_map(|object| match object {
        Object::Members {
            cgroup: CgroupRef::Path(path),
            pids,
        } => Some((path.as_str(), pids.as_slice())),
        _ => None,
    })
}

fn misplaced(what: &str) -> DriverError {
    DriverError::new(
        Domain::Cgroup,
        format!("the cgroup driver cannot make {what}"),
        "this is a mistake in steer: please report it with the output of steer plan",
    )
}

fn explain(error: CgroupError) -> DriverError {
    let help = error.help();
    DriverError::new(Domain::Cgroup, error.to_string(), help).because(error)
}

const WHAT: &str = "cgroup ";
