//! Who opened a connection, where it was asked for and is known.

use std::io;

use steer_core::address::{ClientAddr, OrigDst};
use steer_core::intent::Intent;
use steer_core::netns;
use steer_core::plan::Netns;
use steer_core::steered::Identity;
use steer_kernel::sock_diag::SockDiag;

/// Asks the kernel's socket tables of one namespace.
#[derive(Debug)]
pub(crate) struct Owners(Option<SockDiag>);

impl Owners {
    /// The tables of the namespace that the programs are in; none where nobody asked for owners.
    pub(crate) fn of(intent: &Intent, place: &Netns) -> io::Result<Self> {
        if !intent.identify {
            return Ok(Self(None));
        }
        let diag = netns::within(netns::open(place)?, SockDiag::open)??;
        Ok(Self(Some(diag)))
    }

    /// Whose connection it is; nobody's where the client is another machine.
    pub(crate) fn of_connection(&self, client: ClientAddr, to: OrigDst) -> Identity {
        let uid = self.0.as_ref().and_then(|diag| {
            diag.tcp_owner(client.0, to.addr())
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
