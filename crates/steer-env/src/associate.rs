//! UDP ASSOCIATE (RFC 1928, section 7): a UDP port for a client, for as long as its connection
//! lives.
//!
//! ```text
//! client ─ TCP ─> handshake ─> Associations.open ─> Association.run ─ until the client leaves
//! client ─ UDP ─> sender: is it the client? ─> header: for whom? ─> Shared ─┬─> AssociateFlow
//!                                                                          └─> …, one a target
//! ```
//!
//! SOCKS5 has no word for a datagram that goes nowhere: a flow that is refused just ends, and the
//! client sees that no answer comes.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steer_core::address::{ClientAddr, Destination, canonical};
use steer_core::datagram::{Shared, SharedLimits};
use steer_core::method::Method;
use steer_core::steered::{Identity, Steered};
use tokio::sync::{Semaphore, mpsc};

use crate::owner::Owners;

mod association;
mod flow;
mod header;
mod sender;

pub(crate) use association::Association;
use sender::Sender;

/// What the associations of a proxy port share: bounds, and the way of their flows to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Associations {
    via: Method,
    places: Arc<Semaphore>,
    flows: Arc<Semaphore>,
    relays: Relays,
    owners: Arc<Owners>,
    flow_tx: mpsc::Sender<Steered>,
}

/// The UDP ports that live, which nobody may be connected to by way of this proxy.
#[derive(Clone, Debug, Default)]
struct Relays(Arc<Mutex<HashSet<SocketAddr>>>);

/// A UDP port that lives; dropping it forgets the port.
#[derive(Debug)]
struct Relay {
    at: SocketAddr,
    relays: Relays,
}

/// Bounds of a proxy port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Clients with a UDP port, two descriptors each.
    pub(crate) associations: usize,
    /// Flows of all clients together.
    pub(crate) flows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            associations: 256,
            flows: 4096,
        }
    }
}

impl Associations {
    /// None yet; their flows go into `flow_tx`.
    pub(crate) fn new(via: Method, flow_tx: mpsc::Sender<Steered>, bounds: Bounds) -> Self {
        Self {
            via,
            places: Arc::new(Semaphore::new(bounds.associations)),
            flows: Arc::new(Semaphore::new(bounds.flows)),
            relays: Relays::default(),
            owners: Arc::new(Owners::open()),
            flow_tx,
        }
    }

    /// Opens a UDP port at the address that the client reached; `claim` is the port that it said
    /// it will send from.
    ///
    /// # Errors
    /// There is no room for another one, or the kernel says no.
    pub(crate) fn open(
        &self,
        client: ClientAddr,
        local: SocketAddr,
        claim: Option<u16>,
        identity: Identity,
    ) -> io::Result<Association> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| io::Error::other("too many clients have a UDP port"))?;
        let mut at = local;
        at.set_port(0);
        let socket = UdpSocket::bind(at)?;
        let at = socket.local_addr()?;
        // What the kernel grants is enough: more room only makes bursts less lossy.
        if let Err(error) = socket2::SockRef::from(&socket).set_recv_buffer_size(KERNEL_ROOM) {
            tracing::debug!(%error, "a UDP port has the usual room");
        }
        let relay = self.relays.open(at);
        let owner = identity
            .uid
            .or_else(|| self.owners.of_ends(client.0, local).uid);
        let sender = Sender::new(client, claim, owner, at);
        let shared = Shared::new(socket, sender, LIMITS)?;
        Ok(Association::new(
            self.clone(),
            relay,
            shared,
            identity,
            place,
        ))
    }
}

impl Relays {
    fn open(&self, at: SocketAddr) -> Relay {
        self.set().insert(canonical(at));
        Relay {
            at,
            relays: self.clone(),
        }
    }

    /// Whether a datagram to this destination would come to one of the ports, as far as that can
    /// be told without a resolver. Where it cannot, the port drops it: it is not its client's.
    fn leads_here(&self, to: &Destination) -> bool {
        self.set()
            .iter()
            .filter(|at| at.port() == to.port())
            .any(|at| match to {
                Destination::Addr(to) => {
                    let ip = to.addr().ip();
                    ip == at.ip() || ip.is_unspecified() || ip.is_loopback()
                }
                Destination::Name { host, .. } => {
                    host.as_str() == "localhost" || host.as_str().ends_with(".localhost")
                }
            })
    }

    fn set(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relays.set().remove(&canonical(self.at));
    }
}

/// Bounds of one client.
const LIMITS: SharedLimits = SharedLimits {
    flows: 512,
    bytes: 512 << 10,
};

/// Bytes that may wait in the kernel for one client's port.
const KERNEL_ROOM: usize = 1 << 20;

#[cfg(test)]
mod tests;
