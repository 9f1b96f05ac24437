//! Really trying `tun` or `tap`: its device in a network namespace of its own.

use steer_core::intent::Intent;
use steer_core::steerer::{Evidence, Steerer};

use steer_rules::probe::{self, Towards};

/// Sends a connection and a datagram to addresses of nobody, by the device.
pub(crate) async fn really<S: Steerer + Clone + 'static>(steerer: &S, intent: &Intent) -> Evidence {
    probe::really(steerer, intent, Towards::Elsewhere).await
}
