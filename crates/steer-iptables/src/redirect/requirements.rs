use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

use crate::requirements::common;

pub(super) fn of(intent: &Intent, host: &Host) -> Vec<Requirement> {
    common(intent, host)
}
