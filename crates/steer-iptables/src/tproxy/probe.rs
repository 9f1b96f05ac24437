use steer_core::intent::Intent;
use steer_core::steerer::Evidence;

use super::Tproxy;
use crate::probe;

pub(super) async fn really(tproxy: &Tproxy, intent: &Intent) -> Evidence {
    probe::really(tproxy, intent).await
}
