//! Who opened a connection to a port of ours.

use steer_core::accept::Accepted;
use steer_core::intent::Intent;
use steer_core::steered::Identity;
use steer_kernel::sock_diag::SockDiag;

/// Asks the kernel who opened a connection, where a rule or a record says it.
///
/// Only clients on this host have an owner here.
#[derive(Debug, Default)]
pub(crate) struct Owners(Option<SockDiag>);

impl Owners {
    /// Asks for the intents that want to know.
    pub(crate) fn new(intent: &Intent) -> Self {
        if !intent.identify {
            return Self::default();
        }
        // These methods need no privilege, and a sandbox may forbid even this question.
        let diag = SockDiag::open().inspect_err(|error| {
            tracing::warn!(%error, "who connects cannot be asked: rules by uid match nobody");
        });
        Self(diag.ok())
    }

    /// The user at the other end, as far as it is known.
    pub(crate) fn of(&self, accepted: &Accepted) -> Identity {
        let uid = self.0.as_ref().and_then(|diag| {
            diag.tcp_owner(accepted.client.0, accepted.local)
                .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
                .ok()
                .flatten()
        });
        Identity {
            uid,
            ..Identity::default()
        }
    }
}
