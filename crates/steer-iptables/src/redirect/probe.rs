use steer_core::intent::Intent;
use steer_core::steerer::Evidence;

use super::Redirect;
use crate::probe;

pub(super) async fn really(redirect: &Redirect, intent: &Intent) -> Evidence {
    probe::really(redirect, intent).await
}
