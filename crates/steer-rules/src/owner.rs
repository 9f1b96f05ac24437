//! Who opened a connection, where it was asked for and is known.

use std::io;
use std::sync::Arc;

use steer_core::address::Family;
use steer_core::connections::Owner;
use steer_core::intent::Intent;
use steer_core::netns::{self, MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_core::plan::Netns;
use steer_core::steered::Identity;
use steer_kernel::sock_diag::SockDiag;

/// Asks the kernel's socket tables of the namespace that the programs are in; nobody where owners
/// were not asked for. A client on another machine has none.
pub fn of(intent: &Intent, place: &Netns) -> io::Result<Owner> {
    if !intent.identify {
        return Ok(Box::new(|_, _| Identity::default()));
    }
    let diag = netns::within(netns::open(place)?, SockDiag::open)??;
    Ok(asking(diag))
}

/// The same, of a namespace that is one of the plan's own.
pub fn of_inside(intent: &Intent, inside: &Arc<dyn MakeSockets>) -> io::Result<Owner> {
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
    Ok(asking(SockDiag::over(socket)?))
}

fn asking(diag: SockDiag) -> Owner {
    Box::new(move |client, to| {
        let uid = diag
            .tcp_owner(client.0, to.addr())
            .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
            .ok()
            .flatten();
        Identity {
            uid,
            ..Identity::default()
        }
    })
}
