//! The seam to the host: one driver a domain.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::instance::Instance;
use crate::intake::Shared;
use crate::object::{Domain, Object};
use crate::plan::Netns;
use crate::ruleset::Role;

/// Makes the objects of one domain.
///
/// Declarative: [`Driver::set`] is told what stands and what shall stand, so that putting a plan
/// in force, swapping it, undoing it and adopting what a crash left are one operation.
pub trait Driver: fmt::Debug + Send {
    /// The domain whose objects it makes.
    fn domain(&self) -> Domain;

    /// Changes this instance's objects in a namespace from `change.from` to `change.to`, in one
    /// transaction where the kernel has one.
    ///
    /// Objects of the same instance that a crashed predecessor left are replaced. Applying the
    /// same change twice is applying it once.
    ///
    /// # Errors
    /// Nothing is changed when an error is returned.
    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError>;

    /// Finds what carries our tag in a namespace, of any instance.
    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError>;

    /// Removes what [`Driver::observe`] found; gone already is success.
    fn remove(&mut self, found: &Found) -> Result<(), DriverError>;

    /// Duplicates of the descriptors whose last close makes its objects vanish.
    ///
    /// The engine holds them beside the keeper, so that the death of one of the two alone removes
    /// nothing.
    fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        Ok(Vec::new())
    }

    /// Duplicates of what the engine uses of what it made, for [`Bound::shared`](crate::intake::Bound).
    fn shared(&self) -> io::Result<Vec<Shared>> {
        Ok(Vec::new())
    }

    /// Works through a lifeline that a dead keeper left with the engine, where the kernel lets
    /// only its holder change the objects. Called before the first change.
    fn adopt(&mut self, lifeline: Lifeline) {
        drop(lifeline);
    }
}

/// A descriptor whose last close makes objects of a driver vanish.
#[derive(Debug)]
pub struct Lifeline {
    /// The driver's domain.
    pub domain: Domain,
    /// The namespace that the objects are in.
    pub netns: Netns,
    /// What it keeps, among several of one domain and namespace; the driver's own word.
    pub label: String,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
}

/// A change of an instance's objects in one domain and namespace; symbols are resolved.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Whose objects.
    pub instance: &'a Instance,
    /// Where.
    pub netns: &'a Netns,
    /// What stands.
    pub from: &'a [Object],
    /// What shall stand.
    pub to: &'a [Object],
}

/// An object of ours on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its domain.
    pub domain: Domain,
    /// The namespace that it is in.
    pub netns: Netns,
    /// The instance that made it; `None` for what bears no name (routes and policy rules): its
    /// owner is whoever's journal lists it.
    pub instance: Option<Instance>,
    /// What it is for, where it is a ruleset.
    pub role: Option<Role>,
    /// What it is, for people: `nft table inet steer_main`; what bears no name is shown as the
    /// object that it is.
    pub what: String,
}

/// Why a driver could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct DriverError {
    /// The domain of the driver.
    pub domain: Domain,
    /// What could not be done, in a sentence.
    pub what: String,
    /// What to do next, often a command to paste.
    pub help: String,
    /// Why it could not be done.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DriverError {
    /// An error with its advice.
    pub fn new(domain: Domain, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            domain,
            what: what.into(),
            help: help.into(),
            source: None,
        }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }
}
