//! The connections to servers, one a way.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::fault::{Cause, Fault};
use super::settings;
use super::wire::{Heard, Speech, Wire};
use crate::gateway::{Gateway, Refused};
use crate::limits::Limits;

/// A connection that is there, is being made, or was refused to all who waited for it.
type Slot = Arc<OnceCell<Result<Server, Refused>>>;

/// The connections of a session.
pub(super) struct Ways<G: Gateway> {
    slots: Mutex<Vec<(G::Way, Slot)>>,
    /// Each drives a connection until it has ended.
    drivers: Mutex<JoinSet<()>>,
}

/// How many connections are kept for later requests.
const KEPT: usize = 16;

impl<G: Gateway> Default for Ways<G> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
            drivers: Mutex::default(),
        }
    }
}

impl<G: Gateway> Ways<G> {
    /// The connection of a way, made where there is none that takes a stream, and whether earlier
    /// requests have used it.
    pub(super) async fn server(
        &self,
        way: &G::Way,
        gateway: &G,
        limits: &Limits,
    ) -> Result<(Server, Used), Refused> {
        loop {
            let slot = self.slot(way);
            let mut used = Used::Before;
            let made = slot.get_or_init(|| {
                used = Used::Never;
                self.dial(way, gateway, limits)
            });
            match made.await {
                Ok(server) if used == Used::Never || server.takes() => {
                    return Ok((server.clone(), used));
                }
                Ok(_) => self.forget(&slot),
                Err(refused) => {
                    self.forget(&slot);
                    return Err(refused.clone());
                }
            }
        }
    }

    /// Makes a connection.
    async fn dial(&self, way: &G::Way, gateway: &G, limits: &Limits) -> Result<Server, Refused> {
        // HTTP/2 names the host of a request in one way, whoever takes it: `absolute` says nothing.
        let connected = gateway.connect(way).await?;
        let (wire, heard) = Wire::new(connected.stream);
        let begun = timeout(limits.head_time, settings::client(limits).handshake(wire)).await;
        let (requests, connection) = match begun {
            Err(_) => return Err(Refused::plain(504, "the server takes no bytes")),
            Ok(Err(_)) => return Err(Refused::plain(502, "the server went away at once")),
            Ok(Ok(begun)) => begun,
        };
        let mut drivers = lock(&self.drivers);
        while drivers.try_join_next().is_some() {}
        let driver = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a server's connection ended");
            }
        };
        drivers.spawn(driver.in_current_span());
        Ok(Server { requests, heard })
    }

    /// Lets every connection end when its streams have, and waits for that for a while.
    pub(super) async fn close(&self, wait: Duration) {
        lock(&self.slots).clear();
        let mut drivers = std::mem::take(&mut *lock(&self.drivers));
        let all = async { while drivers.join_next().await.is_some() {} };
        // What is left is aborted as it is dropped.
        let _ = timeout(wait, all).await;
    }

    /// The slot of a way.
    fn slot(&self, way: &G::Way) -> Slot {
        let mut slots = lock(&self.slots);
        if let Some((_, slot)) = slots.iter().find(|(kept, _)| kept == way) {
            return slot.clone();
        }
        if slots.len() == KEPT {
            // Its streams keep it until they have ended.
            slots.remove(0);
        }
        let slot = Slot::default();
        slots.push((way.clone(), slot.clone()));
        slot
    }

    /// Has the next request make a connection anew.
    fn forget(&self, gone: &Slot) {
        lock(&self.slots).retain(|(_, slot)| !Arc::ptr_eq(slot, gone));
    }
}

/// Whether a connection has carried requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// This is its first.
    Never,
    /// It may have been closed since.
    Before,
}

/// A connection to a server.
#[derive(Clone)]
pub(super) struct Server {
    requests: SendRequest<Bytes>,
    heard: Arc<Heard>,
}

impl Server {
    /// Whether it takes streams: it has not ended, and its peer is not going away.
    fn takes(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let ready = self.requests.clone().poll_ready(&mut context);
        !matches!(ready, Poll::Ready(Err(_)))
    }

    /// Sends a head.
    pub(super) async fn send(
        &self,
        request: http::Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Fault> {
        let mut requests = self.requests.clone();
        let ready = poll_fn(|cx| requests.poll_ready(cx)).await;
        ready.map_err(|error| Fault::Server(Cause::from(error)))?;
        let sent = requests.send_request(request, end);
        sent.map_err(|error| match (error.reason(), error.is_io()) {
            (None, false) => Fault::Change("the request's fields are not for HTTP/2"),
            _ => Fault::Server(Cause::from(error)),
        })
    }

    /// What it speaks.
    pub(super) fn speech(&self) -> Speech {
        self.heard.speech()
    }

    /// Whether it takes requests for other protocols (RFC 8441).
    pub(super) fn extended(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }
}

/// Locks what no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
