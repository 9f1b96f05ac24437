//! What a program needs to use this method with nothing but this crate and `steer-core`.

use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::keeper::{Keeper, KeeperError};
use steer_kernel::drivers::Drivers;
use steer_kernel::journal::RunDir;
use steer_kernel::keeper::LocalKeeper;

/// The facts that the plan of an intent depends on, of this host or the network namespace that the
/// intent names; asking changes nothing.
#[must_use]
pub fn host(intent: &Intent) -> Host {
    steer_kernel::host::observe_for(intent)
}

/// A keeper within this process: what it put in force is undone when the guard is dropped.
///
/// After a SIGKILL only what the kernel itself ties to a process is undone: the rules of nf_tables
/// that steer. A program that must clean up in every case uses the keeper process of
/// `steer-kernel`.
///
/// # Errors
/// There is no directory for the journal.
pub fn keeper() -> Result<Box<dyn Keeper>, KeeperError> {
    Ok(Box::new(LocalKeeper::new(
        Drivers::default(),
        RunDir::find()?,
    )))
}
