use std::io;
use std::net::SocketAddr;

use steer_core::address::Destination;
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::object::Listener;
use steer_core::policy::App;

use super::connections::Connections;
use super::flows::Flows;

/// What a listener of a plan brings.
pub(super) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    let Listener { to, app, .. } = bound.listener;
    let kind = Kind { to, app };
    Ok(match bound.sockets {
        Sockets::Tcp(sockets) => Box::new(Connections::new(intent, kind, sockets)?),
        Sockets::Udp(sockets) => Box::new(Flows::new(kind, sockets)?),
        Sockets::Control(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// What all that comes to one listener has in common.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) to: Option<Destination>,
    pub(super) app: Option<App>,
}

impl Kind {
    /// Where whoever came to an address of ours wanted to go: the address stands for a name, but
    /// for that of the resolver.
    pub(super) fn destination(&self, local: SocketAddr) -> Destination {
        self.to.clone().unwrap_or_else(|| Destination::addr(local))
    }

    /// Whether a client is of this host: with `route_localnet` set, others reach loopback too.
    pub(super) fn admits(client: SocketAddr) -> bool {
        client.ip().to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests;
