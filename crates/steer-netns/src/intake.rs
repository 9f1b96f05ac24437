use std::io;

use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::transparent;

use crate::owner;
use crate::publish::Published;

/// What a listener of a plan brings.
pub(crate) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    if let Some(to) = bound.listener.to.clone() {
        return Ok(Box::new(Published::new(bound, to)?));
    }
    let nobody = || io::Error::other("nobody makes sockets in the command's namespace");
    let inside = bound.inside.clone().ok_or_else(nobody)?;
    let owner = owner::of(intent, &inside)?;
    transparent::intake(intent, bound, inside, owner)
}
