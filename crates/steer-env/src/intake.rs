//! Connections of the listeners, each in a task of its own until its destination is known.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{Cidr, Protocol};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::netns::MakeSockets;
use steer_core::steered::{Flow, ResetAnswer, Steered};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::associate::{Associations, Bounds};
use crate::explicit::carried;
use crate::forward::{self, Fixed};
use crate::gate::{Gate, Guest};
use crate::handshake::{Greeted, Serves, Service, greet};
use crate::login::Login;
use crate::owner::Owners;

/// The intake of a listener: a forward's where it has a fixed destination, else the proxy port's.
pub(crate) fn open(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    let Bound {
        listener,
        sockets,
        netns: _,
        shared: _,
        inside,
    } = bound;
    let owners = |wanted| owners(wanted, inside.as_deref());
    let acceptor = Acceptor::new(sockets.streams()?)?;
    let via = listener.method;
    if let Some(to) = &listener.to {
        let written = forward::written(intent, &listener.id);
        let to = Fixed {
            destination: to.clone(),
            upstream: written.and_then(|forward| forward.upstream.clone()),
        };
        let senders = written.map_or(&[][..], |forward| &forward.proxy_protocol);
        let owners = owners(intent.identify);
        if senders.is_empty() {
            return Ok(Box::new(ForwardIntake {
                acceptor,
                owners,
                via,
                to,
            }));
        }
        let mut intake = ProxyIntake::new(acceptor, via, Serves::Fixed(to), MOST_HANDSHAKES);
        intake.senders(senders);
        intake.owners = owners;
        return Ok(Box::new(intake));
    }
    // A client in namespaces of its own would not reach the sockets of an association.
    let udp = carried(intent).contains(&Protocol::Udp) && inside.is_none();
    let bounds = udp.then(Bounds::default);
    let login = login(intent)?;
    let mut intake = ProxyIntake::serving(acceptor, via, login, bounds, MOST_HANDSHAKES);
    intake.senders(&intent.listen.proxy_protocol);
    intake.gate = Gate::new(intent, via);
    intake.owners = owners(intent.identify || intake.gate.asks());
    Ok(Box::new(intake))
}

fn owners(wanted: bool, inside: Option<&dyn MakeSockets>) -> Owners {
    match inside {
        _ if !wanted => Owners::Unasked,
        Some(inside) => Owners::inside(inside),
        None => Owners::open(),
    }
}

fn login(intent: &Intent) -> io::Result<Option<Login>> {
    intent
        .listen
        .auth
        .as_ref()
        .map(Login::read)
        .transpose()
        .map_err(io::Error::other)
}

/// The intake of a proxy port. Dropping it ends the handshakes that go on.
#[derive(Debug)]
struct ProxyIntake {
    acceptor: Acceptor,
    owners: Owners,
    gate: Gate,
    /// Connections of users that the port does not serve.
    strangers: u64,
    service: Arc<Service>,
    /// Flows of the associations, and what keeps their way open as long as the intake: they see its
    /// end by it.
    flows: (mpsc::Receiver<Steered>, mpsc::Sender<Steered>),
    /// A connection for which there was no place yet.
    arrived: Option<Accepted>,
    tasks: JoinSet<(u64, Option<Greeted>)>,
    /// The handshakes that go on, the oldest first.
    waiting: BTreeMap<u64, Waiting>,
    most: usize,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    task: AbortHandle,
}

#[async_trait]
impl Intake for ProxyIntake {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            if self.waiting.len() < self.most
                && let Some(accepted) = self.arrived.take()
            {
                self.start(accepted);
            }
            let full = self.arrived.is_some();
            let evict = self.oldest().map(|since| since + GRACE);
            tokio::select! {
                biased;
                Some(done) = self.tasks.join_next() => {
                    if let Some(steered) = self.finish(done) {
                        return Some(steered);
                    }
                }
                () = until(evict), if full => self.evict(),
                arrival = arrival(&mut self.acceptor, &mut self.flows.0, full) => match arrival {
                    Arrival::Connection(accepted) => self.arrived = Some(accepted),
                    Arrival::Flow(steered) => return Some(steered),
                },
            }
        }
    }
}

impl ProxyIntake {
    /// Serves whoever speaks one of the protocols, with UDP where there are bounds for it.
    fn serving(
        acceptor: Acceptor,
        via: Method,
        login: Option<Login>,
        udp: Option<Bounds>,
        most: usize,
    ) -> Self {
        let (flow_tx, flows) = mpsc::channel(MOST_FLOWS_WAITING);
        let associations = udp.map(|bounds| Associations::new(via, flow_tx.clone(), bounds));
        let serves = Serves::Clients {
            login,
            associations,
        };
        Self {
            flows: (flows, flow_tx),
            ..Self::new(acceptor, via, serves, most)
        }
    }

    fn new(acceptor: Acceptor, via: Method, serves: Serves, most: usize) -> Self {
        let (flow_tx, flows) = mpsc::channel(1);
        let service = Service {
            via,
            senders: Vec::new(),
            serves,
        };
        Self {
            acceptor,
            owners: Owners::default(),
            gate: Gate::default(),
            strangers: 0,
            service: Arc::new(service),
            flows: (flows, flow_tx),
            arrived: None,
            tasks: JoinSet::new(),
            waiting: BTreeMap::new(),
            most,
            number: 0,
        }
    }

    /// Whose PROXY headers are believed, and demanded.
    fn senders(&mut self, senders: &[Cidr]) {
        let service = Arc::get_mut(&mut self.service).expect("no handshake has begun");
        service.senders = senders.to_vec();
    }

    fn start(&mut self, accepted: Accepted) {
        let number = self.number;
        self.number += 1;
        let service = Arc::clone(&self.service);
        let span = tracing::debug_span!("handshake", client = %accepted.client);
        // Asked at once: a client that leaves has no owner any more.
        let identity = self.owners.of(&accepted);
        let guest = self.gate.meets(accepted.client.0.ip(), identity.uid);
        if guest == Guest::Stranger {
            self.strangers += 1;
            tracing::debug!(
                client = %accepted.client,
                uid = identity.uid,
                count = self.strangers,
                "a connection of another user was refused"
            );
        }
        let task = self.tasks.spawn(
            async move { (number, greet(accepted, identity, guest, &service).await) }
                .instrument(span),
        );
        let since = Instant::now();
        self.waiting.insert(number, Waiting { since, task });
    }

    fn finish(&mut self, done: Result<(u64, Option<Greeted>), JoinError>) -> Option<Steered> {
        match done {
            Ok((number, greeted)) => {
                self.waiting.remove(&number);
                match greeted? {
                    Greeted::Steered(steered) => Some(*steered),
                    Greeted::Associated(association, control) => {
                        // Ends with the client's connection, or with the last flow after this
                        // intake: the engine goes on with those it has.
                        let span = tracing::debug_span!("association", at = %association.address());
                        tokio::spawn(association.run(control).instrument(span));
                        None
                    }
                }
            }
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a handshake panicked; please report it");
                }
                self.waiting.retain(|_, w| !w.task.is_finished());
                None
            }
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, w)| w.since)
    }

    /// Resets the connection that has been waiting the longest, to make room.
    ///
    /// It had its time: clients that connect in a burst get theirs before any of them is reset,
    /// and clients that say nothing cannot keep others out.
    fn evict(&mut self) {
        if let Some((_, oldest)) = self.waiting.pop_first() {
            tracing::debug!("a slow handshake gave way to others");
            oldest.task.abort();
        }
    }
}

/// The intake of a port whose connections all have one destination.
#[derive(Debug)]
struct ForwardIntake {
    acceptor: Acceptor,
    owners: Owners,
    via: Method,
    to: Fixed,
}

#[async_trait]
impl Intake for ForwardIntake {
    async fn next(&mut self) -> Option<Steered> {
        let accepted = self.acceptor.accept().await;
        let identity = self.owners.of(&accepted);
        let Accepted { stream, client, .. } = accepted;
        Some(Steered {
            flow: Flow::Tcp(stream),
            client,
            destination: self.to.destination.clone(),
            identity,
            via: self.via,
            upstream: self.to.upstream.clone(),
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }
}

/// What comes to a port.
enum Arrival {
    Connection(Accepted),
    Flow(Steered),
}

/// The next connection or flow, either kind in its turn. Cancel safe.
async fn arrival(
    acceptor: &mut Acceptor,
    flows: &mut mpsc::Receiver<Steered>,
    full: bool,
) -> Arrival {
    tokio::select! {
        accepted = acceptor.accept(), if !full => Arrival::Connection(accepted),
        Some(steered) = flows.recv() => Arrival::Flow(steered),
        else => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The most handshakes at a time.
const MOST_HANDSHAKES: usize = 1024;

/// Flows that wait for the engine; what would begin more of them is lost.
const MOST_FLOWS_WAITING: usize = 256;

/// How long a handshake may take while others wait for its place.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
