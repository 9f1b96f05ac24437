//! Connections of the listeners, each in a task of its own until its destination is known.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::Destination;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::forward;
use crate::handshake::greet;
use crate::login::Login;

/// The intake of a listener: a forward's where it has a fixed destination, else the proxy port's.
pub(crate) fn open(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    let Bound { listener, sockets } = bound;
    let acceptor = Acceptor::new(sockets)?;
    let via = listener.method;
    if let Some(to) = &listener.to {
        return Ok(Box::new(ForwardIntake {
            acceptor,
            via,
            to: to.clone(),
            upstream: forward::upstream(intent, &listener.id),
        }));
    }
    let login = intent
        .listen
        .auth
        .as_ref()
        .map(Login::read)
        .transpose()
        .map_err(io::Error::other)?;
    Ok(Box::new(ProxyIntake {
        acceptor,
        via,
        login: Arc::new(login),
        tasks: JoinSet::new(),
        waiting: BTreeMap::new(),
        number: 0,
    }))
}

/// The intake of a proxy port. Dropping it ends the handshakes that go on.
#[derive(Debug)]
struct ProxyIntake {
    acceptor: Acceptor,
    via: Method,
    login: Arc<Option<Login>>,
    tasks: JoinSet<(u64, Option<Steered>)>,
    /// The handshakes that go on, the oldest first.
    waiting: BTreeMap<u64, Waiting>,
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
            let full = self.waiting.len() >= MOST_HANDSHAKES;
            let evict = self.oldest().map(|since| since + GRACE);
            tokio::select! {
                biased;
                Some(done) = self.tasks.join_next() => {
                    if let Some(steered) = self.finish(done) {
                        return Some(steered);
                    }
                }
                () = until(evict), if full => self.evict(),
                accepted = self.acceptor.accept(), if !full => self.start(accepted),
            }
        }
    }
}

impl ProxyIntake {
    fn start(&mut self, accepted: Accepted) {
        let number = self.number;
        self.number += 1;
        let (via, login) = (self.via, Arc::clone(&self.login));
        let span = tracing::debug_span!("handshake", client = %accepted.client);
        let task = self.tasks.spawn(
            async move { (number, greet(accepted, via, login.as_ref().as_ref()).await) }
                .instrument(span),
        );
        let since = Instant::now();
        self.waiting.insert(number, Waiting { since, task });
    }

    fn finish(&mut self, done: Result<(u64, Option<Steered>), JoinError>) -> Option<Steered> {
        match done {
            Ok((number, steered)) => {
                self.waiting.remove(&number);
                steered
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
    via: Method,
    to: Destination,
    upstream: Option<String>,
}

#[async_trait]
impl Intake for ForwardIntake {
    async fn next(&mut self) -> Option<Steered> {
        let Accepted { stream, client, .. } = self.acceptor.accept().await;
        Some(Steered {
            flow: Flow::Tcp(stream),
            client,
            destination: self.to.clone(),
            identity: Identity::default(),
            via: self.via,
            upstream: self.upstream.clone(),
            answer: Box::new(ResetAnswer),
        })
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

/// How long a handshake may take while others wait for its place.
const GRACE: Duration = Duration::from_secs(1);
