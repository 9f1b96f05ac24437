//! From a steered connection to a connected upstream: decide, dial, answer.
pub(super) mod choice;
pub(super) mod proxied;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::SockRef;
use steer_core::address::{ClientAddr, Destination};
use steer_core::steered::{Answer, Flow, Refusal};
use steer_tls::ConnectError;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::edits::Unreadable;
use super::entry::{Entry, Route};
use super::http::{Guarded, Spoken};
use super::late;
use super::udp::held::Held;
use crate::error::UpstreamError;
use crate::handler::{BoxStream, Handler};
use crate::upstream::datagrams::Way;
use crate::upstream::direct::{Dialled, Terms, is_out_of_descriptors, tune};
use crate::upstream::proxy::Call;
use crate::value::ValueError;

use choice::{Choice, Decided};

/// A connected upstream.
pub(super) struct Opened {
    pub(super) dialled: Dialled,
    /// What it said behind the proxy's answer.
    pub(super) prefix: Vec<u8>,
}

/// How a connection goes on.
pub(super) enum Onward {
    /// Its bytes pass the engine.
    Relayed(Opened),
    /// What is inside is looked at.
    Inside(Inside),
    /// The program has one of its own, or was told why it has none.
    Own(io::Result<()>),
}

/// What of a connection is looked at.
#[derive(Debug)]
pub(super) enum Inside {
    /// Its requests; the route is the one that its listener prescribes.
    Session(Spoken, Option<Route>),
    /// Its TLS is opened; the way is the one of the server that the client is to see.
    Tls(Decided),
}

/// Why there is no upstream.
#[derive(Debug)]
pub(super) enum Failure {
    /// A rule rejects it.
    Denied,
    /// A rule asks who the program is, and the method cannot tell.
    Stranger,
    /// The address was made up and stands for no name.
    Dead,
    /// The connection is one of the engine's own dials.
    OwnDial,
    /// The engine will not take it.
    Refused(Refusal),
    /// The upstream could not be reached.
    Upstream(UpstreamError),
    /// No TLS could begin with the server.
    Tls(ConnectError),
    /// The server speaks another version of HTTP than the client.
    OtherVersion,
    /// A secret may not go where the request goes.
    Guarded(Guarded),
    /// A value that a rule puts into a request cannot be had.
    Value(ValueError),
    /// A path that a rule changes cannot be read.
    Path(Unreadable),
    /// The resolver that was asked gave an error.
    Resolver(Refusal, io::Error),
    /// The client went away.
    Client(io::Error),
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

/// A connection on the way to its upstream.
pub(super) struct Opening {
    pub(super) flow: Flow,
    /// What tells the client; none once it was told that it is connected.
    pub(super) answer: Option<Box<dyn Answer>>,
    /// What the client has said.
    pub(super) prefix: Vec<u8>,
    /// The datagrams that it has sent; none where they are not taken before the way is open.
    pub(super) held: Option<Held>,
    /// How many datagrams it has sent.
    pub(super) heard: usize,
    /// Whether the client had its time to speak first.
    pub(super) listened: bool,
    /// Whether it let that time pass without a word.
    pub(super) silent: bool,
    /// Who wants to see requests.
    pub(super) watchers: Vec<Arc<dyn Handler>>,
}

impl Opening {
    pub(super) fn new(flow: Flow, answer: Box<dyn Answer>) -> Self {
        Self {
            flow,
            answer: Some(answer),
            prefix: Vec::new(),
            held: None,
            heard: 0,
            listened: false,
            silent: false,
            watchers: Vec::new(),
        }
    }

    /// One whose client is connected already, behind handlers of bytes.
    pub(super) fn behind(stream: BoxStream, watchers: Vec<Arc<dyn Handler>>) -> Self {
        Self {
            flow: Flow::Stream(stream),
            answer: None,
            prefix: Vec::new(),
            held: None,
            heard: 0,
            listened: false,
            silent: false,
            watchers,
        }
    }

    /// Decides, dials and answers.
    pub(super) async fn open(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Onward, Failure> {
        let retune = entry.dialler.retune;
        if let Flow::Tcp(stream) = &self.flow {
            prepare(stream, client.0.ip(), retune);
        }
        let unmade = matches!(self.flow, Flow::Unmade);
        let choice = self.consider(entry, client, prescribed).await?;
        if let Choice::Inside(_) = &choice {
            self.connected().await?;
        }
        if let (true, Flow::Tcp(stream)) = (unmade, &self.flow) {
            prepare(stream, client.0.ip(), retune);
        }
        let (route, only) = match choice {
            Choice::Way(decided) => decided,
            Choice::Inside(inside) => return Ok(Onward::Inside(inside)),
        };
        if self.silent {
            let way = (route, only.clone());
            let Onward::Relayed(opened) = self.reach(entry, client, route, only).await? else {
                return Err(Failure::Client(io::ErrorKind::NotConnected.into()));
            };
            return Box::pin(late::settle(entry, self, opened, way, client, prescribed)).await;
        }
        self.reach(entry, client, route, only).await
    }

    /// Dials by the way that was chosen, and answers.
    pub(super) async fn reach(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        route: Route,
        only: Option<Vec<SocketAddr>>,
    ) -> Result<Onward, Failure> {
        let retune = entry.dialler.retune;
        let unmade = matches!(self.flow, Flow::Unmade);
        let deadline = Instant::now() + entry.shared.limits.connect;
        if route == Route::Direct
            && self.answer.as_ref().is_some_and(|a| a.can_hand_over())
            && let Some(answer) = self.answer.take()
        {
            return self.hand_over(entry, only, deadline, answer).await;
        }
        let mut gone = None;
        if let Some(answer) = &mut self.answer {
            answer.dialling().map_err(Failure::Client)?;
            gone = answer.gone();
        }
        let terms = entry.dialler.terms(client.0.ip(), deadline);
        let gone = async {
            match gone {
                Some(gone) => gone.await,
                None => std::future::pending().await,
            }
        };
        let begun = Instant::now();
        let opened = tokio::select! {
            biased;
            opened = self.dial(entry, route, only, terms) => opened?,
            () = gone => return Err(Failure::Client(io::ErrorKind::ConnectionAborted.into())),
        };
        entry.shared.metrics.connected(begun.elapsed());
        self.connected().await?;
        if let (true, Flow::Tcp(stream)) = (unmade, &self.flow) {
            prepare(stream, client.0.ip(), retune);
        }
        Ok(Onward::Relayed(opened))
    }

    /// Gives the program a connection of its own.
    async fn hand_over(
        &mut self,
        entry: &Entry,
        only: Option<Vec<SocketAddr>>,
        deadline: Instant,
        answer: Box<dyn Answer>,
    ) -> Result<Onward, Failure> {
        let dialler = &entry.dialler;
        let addresses = match (only, &entry.destination) {
            (Some(only), _) => Ok(only),
            (None, Destination::Addr(to)) => Ok(vec![to.addr()]),
            (None, Destination::Name { host, port }) => {
                Box::pin(dialler.resolve(host, *port, deadline)).await
            }
        };
        let checked = addresses.map_err(Failure::Upstream).and_then(|addresses| {
            match addresses.iter().find(|to| dialler.leads_back(**to)) {
                Some(to) => Err(UpstreamError::Loop(*to).into()),
                // A rule that lets it pass may permit none of the name's addresses.
                None if addresses.is_empty() => Err(Failure::Denied),
                None => Ok(addresses),
            }
        });
        match checked {
            Err(failure) => {
                self.answer = Some(answer);
                Err(failure)
            }
            Ok(to) => Ok(Onward::Own(answer.hand_over(&to).await)),
        }
    }

    /// Connects by the way that was chosen.
    pub(super) async fn dial(
        &mut self,
        entry: &mut Entry,
        route: Route,
        only: Option<Vec<SocketAddr>>,
        terms: Terms,
    ) -> Result<Opened, Failure> {
        let shared = Arc::clone(&entry.shared);
        let course = Arc::clone(&entry.course);
        let dialler = Arc::clone(&entry.dialler);
        let opened = match route {
            Route::None => Err(Failure::Denied),
            Route::Direct => {
                let to = &entry.destination;
                let dialled = match (only, to) {
                    (None, Destination::Addr(address)) => {
                        dialler.dial_address(address.addr(), to, terms).await
                    }
                    (None, to) => Box::pin(dialler.dial(to, terms)).await,
                    (Some(only), to) => Box::pin(dialler.dial_any(&only, to, terms)).await,
                };
                dialled
                    .map(|dialled| Opened {
                        dialled,
                        prefix: Vec::new(),
                    })
                    .map_err(Failure::Upstream)
            }
            Route::Proxy(index) => {
                let proxy = &course.proxies[index];
                match only {
                    None => Box::pin(self.through(entry, &shared, proxy, terms)).await,
                    Some(only) => {
                        let header = proxied::introduction(entry, proxy);
                        Box::pin(proxied::through_to(
                            &only,
                            &dialler,
                            proxy,
                            header.as_ref(),
                            terms,
                        ))
                        .await
                    }
                }
            }
        };
        starved(&entry.shared, opened.as_ref().err());
        opened
    }

    /// Decides, and opens the way for datagrams.
    pub(super) async fn open_way(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Way, Failure> {
        self.held = Some(Held::new(&entry.shared.held));
        // It began the flow, so it is here.
        self.hear(entry, entry.shared.limits.sniff).await?;
        let (route, only) = self.choose(entry, client, prescribed).await?;
        let shared = Arc::clone(&entry.shared);
        let terms = entry
            .dialler
            .terms(client.0.ip(), Instant::now() + shared.limits.connect);
        let way = self.way(entry, route, only, terms).await?;
        self.connected().await?;
        Ok(way)
    }

    /// Opens the way for datagrams that was chosen.
    pub(super) async fn way(
        &mut self,
        entry: &mut Entry,
        route: Route,
        only: Option<Vec<SocketAddr>>,
        terms: Terms,
    ) -> Result<Way, Failure> {
        let opened = self.lay(entry, route, only, terms).await;
        starved(&entry.shared, opened.as_ref().err());
        opened
    }

    async fn lay(
        &mut self,
        entry: &mut Entry,
        route: Route,
        only: Option<Vec<SocketAddr>>,
        terms: Terms,
    ) -> Result<Way, Failure> {
        let shared = Arc::clone(&entry.shared);
        let course = Arc::clone(&entry.course);
        let dialler = Arc::clone(&entry.dialler);
        match route {
            Route::None => Err(Failure::Denied),
            Route::Direct => {
                let to = &entry.destination;
                let addresses = match (only, to) {
                    (Some(only), _) => only,
                    (None, Destination::Addr(to)) => vec![to.addr()],
                    (None, Destination::Name { host, port }) => {
                        let (host, port) = (host.clone(), *port);
                        let found = dialler.resolve(&host, port, terms.deadline);
                        self.hearing(entry, found).await?
                    }
                };
                Ok(dialler.way(&addresses, &entry.destination, terms)?)
            }
            Route::Proxy(index) => {
                let proxy = &course.proxies[index];
                proxy.carries_datagrams()?;
                if only.is_none() && !entry.is_named() {
                    // A hello in several datagrams tells its name with the last of them.
                    self.sniff(entry, shared.limits.sniff).await?;
                }
                let target = match only {
                    // Datagrams are not answered, so there is no trying one after the other.
                    Some(only) => only.first().copied().map(Destination::addr),
                    None => Some(entry.target()),
                };
                let target = target.ok_or(Failure::Denied)?;
                let header = proxied::introduction(entry, proxy);
                let call = Call {
                    dialler: &dialler,
                    header: header.as_ref(),
                    terms,
                };
                self.hearing(entry, proxy.relay(target, call)).await
            }
        }
    }

    /// Tells the client, once, that it is connected.
    pub(super) async fn connected(&mut self) -> Result<(), Failure> {
        if let Some(mut answer) = self.answer.take() {
            match timeout(ANSWER, answer.connected(&mut self.flow)).await {
                Ok(told) => told.map_err(Failure::Client)?,
                Err(_) => return Err(Failure::Client(io::ErrorKind::TimedOut.into())),
            }
        }
        Ok(())
    }
}

/// Notes a dial that found no descriptor.
pub(super) fn starved(shared: &Shared, failure: Option<&Failure>) {
    if let Some(Failure::Upstream(error)) = failure
        && is_out_of_descriptors(error)
    {
        shared.starved.fetch_add(1, Relaxed);
    }
}

/// How long an answer may take to be written.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

fn prepare(stream: &TcpStream, client: IpAddr, retune: bool) {
    // Fails only on a socket that is gone, which the relay finds out.
    let _ = stream.set_nodelay(true);
    if retune {
        tune(
            &SockRef::from(stream),
            stream.local_addr().ok().map(|local| local.ip()),
            client,
        );
    }
}
