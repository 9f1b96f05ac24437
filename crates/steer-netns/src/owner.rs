//! Who opened a connection, where it was asked for.

use std::io;
use std::sync::Arc;

use steer_core::address::Family;
use steer_core::connections::Owner;
use steer_core::intent::Intent;
use steer_core::netns::{MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_core::steered::Identity;
use steer_kernel::sock_diag::SockDiag;

/// Asks the kernel's socket tables of the command's namespace; nobody where owners were not asked
/// for. Users have the same numbers there as here.
pub(crate) fn of(intent: &Intent, inside: &Arc<dyn MakeSockets>) -> io::Result<Owner> {
    if !intent.identify {
        return Ok(Box::new(|_, _| Identity::default()));
    }
    let socket = inside.make(&SocketWish {
        family: Family::V4,
        kind: SocketKind::Diag,
        binding: Binding::Own,
        mark: None,
        bind: None,
    })?;
    let diag = SockDiag::over(socket)?;
    Ok(Box::new(move |client, to| {
        let uid = diag
            .tcp_owner(client.0, to.addr())
            .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
            .ok()
            .flatten();
        Identity {
            uid,
            ..Identity::default()
        }
    }))
}
