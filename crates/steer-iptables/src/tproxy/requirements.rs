use steer_core::host::Host;
use steer_core::intent::Intent;
use steer_core::requirement::Requirement;

use crate::backend::Filter;
use crate::requirements::common;

pub(super) fn of(intent: &Intent, host: &Host) -> Vec<Requirement> {
    let mut needs = common(intent, host);
    needs.push(Filter::of(intent, host).transparency(host));
    needs
}
