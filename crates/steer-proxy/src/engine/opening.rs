//! From a steered connection to a connected upstream: decide, dial, answer.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::SockRef;
use steer_core::address::{ClientAddr, Destination, HostName};
use steer_core::policy::{Action, Rule, UpstreamKind};
use steer_core::steered::{Answer, Flow, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::build::Proxy;
use super::entry::{Entry, Route};
use super::rules::{Decision, Facts};
use crate::error::UpstreamError;
use crate::sniff::{Sniffed, WINDOW};
use crate::upstream::direct::{Dialled, is_out_of_descriptors, resolve, tune};
use crate::upstream::{connect, socks5};

/// A connected upstream.
pub(super) struct Opened {
    pub(super) dialled: Dialled,
    /// What it said behind the proxy's answer.
    pub(super) prefix: Vec<u8>,
}

/// Why there is no upstream.
#[derive(Debug)]
pub(super) enum Failure {
    /// A rule rejects it.
    Denied,
    /// A rule asks for the user, and the method cannot tell.
    Stranger,
    /// The connection is one of the engine's own dials.
    OwnDial,
    /// The engine will not take it.
    Refused(Refusal),
    /// The upstream could not be reached.
    Upstream(UpstreamError),
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
}

impl Opening {
    /// Decides, dials and answers.
    pub(super) async fn open(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Opened, Failure> {
        let shared = Arc::clone(&entry.shared);
        if let Destination::Addr(to) = &entry.destination
            && shared.dialler.loops.is_ours(client.0, to.addr())
        {
            return Err(Failure::OwnDial);
        }
        if let Flow::Tcp(stream) = &self.flow {
            prepare(stream, client.0.ip(), shared.dialler.retune);
        }
        let mut addresses = None;
        let route = match prescribed {
            Some(name) => named(&shared.proxies, name)?,
            None => match shared
                .rules
                .decide(Facts::at_first(&entry.destination, entry.identity.uid))
            {
                Decision::Rule(rule) => chosen(rule, entry, &shared.proxies)?,
                // Boxed, as what follows: not every connection needs the room.
                _ => Box::pin(self.decide(entry, &shared, &mut addresses)).await?,
            },
        };
        entry.sent_to(route);
        let deadline = Instant::now() + shared.limits.connect;
        let opened = match route {
            Route::None => Err(Failure::Denied),
            Route::Direct => {
                let dialled = match (addresses, &entry.destination) {
                    (None, Destination::Addr(address)) => {
                        shared
                            .dialler
                            .dial_address(address.addr(), &entry.destination, deadline)
                            .await
                    }
                    (None, to) => Box::pin(shared.dialler.dial(to, deadline)).await,
                    (Some(addresses), to) => {
                        Box::pin(shared.dialler.dial_any(&addresses, to, deadline)).await
                    }
                };
                dialled
                    .map(|dialled| Opened {
                        dialled,
                        prefix: Vec::new(),
                    })
                    .map_err(Failure::Upstream)
            }
            Route::Proxy(index) => {
                Box::pin(self.through(entry, &shared, &shared.proxies[index], deadline)).await
            }
        };
        if let Err(Failure::Upstream(error)) = &opened
            && is_out_of_descriptors(error)
        {
            shared.starved.fetch_add(1, Relaxed);
        }
        let opened = opened?;
        self.connected().await?;
        Ok(opened)
    }

    /// Asks the rules, and looks for what they want to know.
    async fn decide(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        addresses: &mut Option<Vec<SocketAddr>>,
    ) -> Result<Route, Failure> {
        let mut sniffed: Option<Sniffed> = None;
        let mut ips: Option<Vec<IpAddr>> = None;
        loop {
            let facts = Facts {
                destination: &entry.destination,
                uid: entry.identity.uid,
                sniffed: sniffed.as_ref(),
                addresses: ips.as_deref(),
            };
            match shared.rules.decide(facts) {
                Decision::Rule(rule) => return chosen(rule, entry, &shared.proxies),
                Decision::Unknown(rule) => {
                    entry.decided_by(&rule.name);
                    return Err(Failure::Stranger);
                }
                Decision::Sniff => {
                    // A client that waits for its answer says nothing before it.
                    self.connected().await?;
                    self.sniff(entry, shared.limits.sniff).await?;
                    sniffed = Some(entry.sniffer.conclude());
                }
                Decision::Resolve => {
                    let found =
                        lookup(&entry.destination, Instant::now() + shared.limits.connect).await;
                    ips = Some(found.iter().map(SocketAddr::ip).collect());
                    // Dialling what the rules have seen: a second lookup could differ.
                    *addresses = (!found.is_empty()).then_some(found);
                }
            }
        }
    }

    /// Connects through a proxy, by name where one is known.
    async fn through(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        proxy: &Proxy,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let unknown = entry.destination.name().is_none() && !entry.sniffer.verdict().is_decided();
        // Bytes may already be here, because the rules wanted to see them.
        let speaks_first = self.prefix.is_empty()
            && self
                .answer
                .as_ref()
                .is_none_or(|answer| !answer.is_awaited());
        let dial = shared.dialler.dial(&proxy.address, deadline);
        let mut dialled = if unknown && speaks_first {
            let dial = async { dial.await.map_err(Failure::Upstream) };
            tokio::try_join!(dial, self.sniff(entry, shared.limits.sniff))?.0
        } else {
            dial.await?
        };
        let target = target(&entry.destination, entry.sniffer.conclude().host);
        let login = proxy.login.as_ref();
        let stream = &mut dialled.stream;
        let asked = async {
            match proxy.kind {
                UpstreamKind::Socks5 => socks5::connect(stream, &target, login).await,
                UpstreamKind::Http => connect::connect(stream, &target, login).await,
            }
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(prefix)) => Ok(Opened { dialled, prefix }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(UpstreamError::Deadline(proxy.address.clone()).into()),
        }
    }

    /// Reads the client's first bytes until they decide, the client ends, or `limit` has passed.
    async fn sniff(&mut self, entry: &mut Entry, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        let Self { flow, prefix, .. } = self;
        let sniffer = &mut entry.sniffer;
        while !sniffer.verdict().is_decided() && prefix.len() < WINDOW {
            let known = prefix.len();
            prefix.reserve(FIRST_READ);
            let Ok(read) = timeout_at(deadline, read(flow, prefix)).await else {
                break;
            };
            if read.map_err(Failure::Client)? == 0 {
                break;
            }
            sniffer.push(&prefix[known..]);
        }
        Ok(())
    }

    /// Tells the client, once, that it is connected.
    async fn connected(&mut self) -> Result<(), Failure> {
        if let Some(mut answer) = self.answer.take() {
            match timeout(ANSWER, answer.connected(&mut self.flow)).await {
                Ok(told) => told.map_err(Failure::Client)?,
                Err(_) => return Err(Failure::Client(io::ErrorKind::TimedOut.into())),
            }
        }
        Ok(())
    }
}

/// How long an answer may take to be written.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Room for the first read of a sniffed connection; a hello with a post-quantum key fits.
const FIRST_READ: usize = 2048;

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

/// The route that a rule chooses.
fn chosen(rule: Option<&Rule>, entry: &mut Entry, proxies: &[Proxy]) -> Result<Route, Failure> {
    let Some(rule) = rule else {
        return Ok(Route::Direct);
    };
    entry.decided_by(&rule.name);
    match &rule.action {
        Action::Direct => Ok(Route::Direct),
        Action::Reject => Err(Failure::Denied),
        Action::Upstream(name) => named(proxies, name),
    }
}

fn named(proxies: &[Proxy], name: &str) -> Result<Route, Failure> {
    let index = proxies.iter().position(|proxy| proxy.name == name);
    index
        .map(Route::Proxy)
        .ok_or_else(|| UpstreamError::Unknown(name.to_owned()).into())
}

/// What a proxy is asked for: the name, where the program told one.
fn target(destination: &Destination, host: Option<HostName>) -> Destination {
    match (destination, host) {
        (Destination::Addr(to), Some(host)) => Destination::Name {
            host,
            port: to.addr().port(),
        },
        _ => destination.clone(),
    }
}

async fn lookup(destination: &Destination, deadline: Instant) -> Vec<SocketAddr> {
    match destination {
        Destination::Addr(to) => vec![to.addr()],
        Destination::Name { host, port } => {
            resolve(host, *port, deadline).await.unwrap_or_default()
        }
    }
}

async fn read(flow: &mut Flow, into: &mut Vec<u8>) -> io::Result<usize> {
    let stream: &mut (dyn AsyncRead + Unpin + Send) = match flow {
        Flow::Tcp(stream) => stream,
        Flow::Stream(stream) => stream,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    stream.read_buf(into).await
}
