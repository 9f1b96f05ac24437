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
use super::rules::{Decision, Facts, Rules, permits};
use crate::error::UpstreamError;
use crate::sniff::{Sniffed, WINDOW};
use crate::upstream::direct::{Dialled, is_out_of_descriptors, share, tune};
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
    /// Whether the client had its time to speak first.
    pub(super) listened: bool,
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
        let (route, only) = match prescribed {
            Some(name) => (named(&shared.proxies, name)?, None),
            None => {
                let facts = Facts::at_first(&entry.destination, entry.identity.uid);
                match shared.rules.decide(facts) {
                    Decision::Rule(rule) => {
                        let only = bounds(&shared.rules, rule, facts, None);
                        (chosen(rule, entry, &shared.proxies)?, only)
                    }
                    // Boxed, as what follows: not every connection needs the room.
                    _ => Box::pin(self.decide(entry, &shared)).await?,
                }
            }
        };
        entry.sent_to(route);
        let deadline = Instant::now() + shared.limits.connect;
        let opened = match route {
            Route::None => Err(Failure::Denied),
            Route::Direct => {
                let dialled = match (only, &entry.destination) {
                    (None, Destination::Addr(address)) => {
                        shared
                            .dialler
                            .dial_address(address.addr(), &entry.destination, deadline)
                            .await
                    }
                    (None, to) => Box::pin(shared.dialler.dial(to, deadline)).await,
                    (Some(only), to) => {
                        Box::pin(shared.dialler.dial_any(&only, to, deadline)).await
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
                let proxy = &shared.proxies[index];
                match only {
                    None => Box::pin(self.through(entry, &shared, proxy, deadline)).await,
                    Some(only) => Box::pin(through_to(&only, &shared, proxy, deadline)).await,
                }
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
    ///
    /// The client's first bytes are waited for only where they choose between ways: nothing is
    /// dialled before that, because a connection to a destination that is to be rejected or
    /// reached through a proxy would show. So a server that speaks first is heard after the sniff
    /// limit there, and at once everywhere else.
    ///
    /// Where a rule asks for the addresses of a name that has none, the connection fails: whether
    /// the rule rejects it cannot be told.
    async fn decide(&mut self, entry: &mut Entry, shared: &Shared) -> Result<Decided, Failure> {
        let mut sniffed: Option<Sniffed> = None;
        let mut found: Option<Vec<SocketAddr>> = None;
        let mut ips: Option<Vec<IpAddr>> = None;
        loop {
            let facts = Facts {
                destination: &entry.destination,
                uid: entry.identity.uid,
                sniffed: sniffed.as_ref(),
                addresses: ips.as_deref(),
            };
            match shared.rules.decide(facts) {
                Decision::Rule(rule) => {
                    let only = bounds(&shared.rules, rule, facts, found);
                    return Ok((chosen(rule, entry, &shared.proxies)?, only));
                }
                Decision::Unknown(rule) => {
                    entry.decided_by(&rule.name);
                    return Err(Failure::Stranger);
                }
                Decision::Sniff if shared.rules.leave_direct(facts) => {
                    entry.decided_later();
                    return Ok((Route::Direct, None));
                }
                Decision::Sniff => {
                    // A client that waits for its answer says nothing before it.
                    self.connected().await?;
                    self.sniff(entry, shared.limits.sniff).await?;
                    sniffed = Some(entry.sniffer.conclude());
                }
                Decision::Resolve => {
                    let deadline = Instant::now() + shared.limits.connect;
                    let addresses = lookup(shared, &entry.destination, deadline).await?;
                    ips = Some(addresses.iter().map(SocketAddr::ip).collect());
                    // Dialling what the rules have seen: a second lookup could differ.
                    found = Some(addresses);
                }
            }
        }
    }

    /// Connects through a proxy, by name where one is known.
    ///
    /// The client's first bytes are waited for while the proxy is dialled, and for the sniff limit
    /// at most: until the proxy is asked, no server can speak.
    async fn through(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        proxy: &Proxy,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let unknown = entry.destination.name().is_none() && !entry.sniffer.verdict().is_decided();
        // It may have had its time already, because the rules wanted to see its bytes.
        let speaks_first = !self.listened
            && self
                .answer
                .as_ref()
                .is_none_or(|answer| !answer.is_awaited());
        let dial = shared.dialler.dial(&proxy.address, deadline);
        let dialled = if unknown && speaks_first {
            let dial = async { dial.await.map_err(Failure::Upstream) };
            tokio::try_join!(dial, self.sniff(entry, shared.limits.sniff))?.0
        } else {
            dial.await?
        };
        let target = target(&entry.destination, entry.sniffer.conclude().host);
        ask(proxy, dialled, &target, deadline).await
    }

    /// Reads the client's first bytes until they decide, the client ends, or `limit` has passed.
    async fn sniff(&mut self, entry: &mut Entry, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        let Self {
            flow,
            prefix,
            listened,
            ..
        } = self;
        *listened = true;
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

/// A route, and the addresses that the connection may go to alone, where it is bound to some.
type Decided = (Route, Option<Vec<SocketAddr>>);

/// The addresses that a connection may go to alone, now that the rules have decided.
fn bounds(
    rules: &Rules,
    rule: Option<&Rule>,
    facts: Facts<'_>,
    found: Option<Vec<SocketAddr>>,
) -> Option<Vec<SocketAddr>> {
    let proxied = matches!(rule.map(|rule| &rule.action), Some(Action::Upstream(_)));
    let found = match (proxied, facts.destination) {
        (true, _) if !rules.pins(rule, facts) => None,
        (true, Destination::Addr(to)) => Some(vec![to.addr()]),
        _ => found,
    };
    found.map(|mut addresses| {
        addresses.retain(|address| permits(rule, address.ip()));
        addresses
    })
}

/// Connects through a proxy to the first of the addresses that it reaches.
async fn through_to(
    addresses: &[SocketAddr],
    shared: &Shared,
    proxy: &Proxy,
    deadline: Instant,
) -> Result<Opened, Failure> {
    let mut last = UpstreamError::Deadline(proxy.address.clone());
    for (index, address) in addresses.iter().enumerate() {
        let share = share(deadline, addresses.len() - index);
        let dialled = shared.dialler.dial(&proxy.address, share).await?;
        match ask(proxy, dialled, &Destination::addr(*address), share).await {
            // The proxy works, so what it says is about the address.
            Err(Failure::Upstream(
                error @ (UpstreamError::Socks5(_)
                | UpstreamError::Status(_)
                | UpstreamError::Deadline(_)),
            )) => last = error,
            asked => return asked,
        }
    }
    Err(last.into())
}

/// Asks a proxy for a destination.
async fn ask(
    proxy: &Proxy,
    mut dialled: Dialled,
    target: &Destination,
    deadline: Instant,
) -> Result<Opened, Failure> {
    let login = proxy.login.as_ref();
    let stream = &mut dialled.stream;
    let asked = async {
        match proxy.kind {
            UpstreamKind::Socks5 => socks5::connect(stream, target, login).await,
            UpstreamKind::Http => connect::connect(stream, target, login).await,
        }
    };
    match timeout_at(deadline, asked).await {
        Ok(Ok(prefix)) => Ok(Opened { dialled, prefix }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(UpstreamError::Deadline(proxy.address.clone()).into()),
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

async fn lookup(
    shared: &Shared,
    destination: &Destination,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, UpstreamError> {
    match destination {
        Destination::Addr(to) => Ok(vec![to.addr()]),
        Destination::Name { host, port } => shared.dialler.resolve(host, *port, deadline).await,
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
