//! A host that exists only in memory, for tests without privileges.
//!
//! Its drivers keep what they are told in one shared model, refuse what the real ones refuse, and
//! fail where a test wants them to.

mod driver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steer_core::instance::Instance;
use steer_core::object::{Domain, Object};
use steer_core::plan::Netns;

use self::driver::FakeDriver;
use crate::drivers::Drivers;

/// A host in memory; clones are the same host.
#[derive(Clone, Debug, Default)]
pub struct FakeHost(Arc<Mutex<Model>>);

/// What stands on a [`FakeHost`]: ours by place and instance, and the names that others use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FakeState {
    /// Objects of ours.
    pub ours: BTreeMap<(Netns, Domain, Instance), Vec<Object>>,
    /// Names that other programs use.
    pub foreign: BTreeSet<(Netns, Domain, String)>,
}

#[derive(Debug, Default)]
struct Model {
    state: FakeState,
    operations: Vec<String>,
    fail_at: BTreeSet<usize>,
}

impl FakeHost {
    /// A host with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drivers at work on this host, as a process would have them: dropped, they let go of what
    /// steers through nf_tables, and of devices with the routes by them, as the kernel does when the
    /// owner dies.
    #[must_use]
    pub fn drivers(&self) -> Drivers {
        let domains = [
            Domain::Cgroup,
            Domain::Device,
            Domain::Route,
            Domain::Nft,
            Domain::Iptables,
        ];
        Drivers::in_memory(
            domains
                .map(|domain| FakeDriver::boxed(domain, self.clone()))
                .into(),
        )
    }

    /// Lets operations fail, counted from 0 from here on: every set and remove is one.
    pub fn fail_at(&self, operations: impl IntoIterator<Item = usize>) {
        let mut model = self.model();
        let done = model.operations.len();
        model.fail_at = operations.into_iter().map(|n| done + n).collect();
    }

    /// Puts something of another program on the host: a table, chain, device or cgroup of this name.
    pub fn add_foreign(&self, netns: Netns, domain: Domain, name: &str) {
        let name = name.to_owned();
        self.model().state.foreign.insert((netns, domain, name));
    }

    /// What stands.
    #[must_use]
    pub fn state(&self) -> FakeState {
        self.model().state.clone()
    }

    /// What was done, failures included: `set nft main 0->1`, `remove nft main`.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        self.model().operations.clone()
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        // A test that panics elsewhere does not make the model wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
