//! Which way a connection takes.
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use steer_core::address::{ClientAddr, Destination};
use steer_core::policy::{Action, Rule};
use steer_core::steered::Flow;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::super::Shared;
use super::super::course::{Course, Proxy};
use super::super::entry::{Entry, Route};
use super::super::http::Spoken;
use super::super::rules::{Decision, Facts, Rules, permits};
use super::super::udp::room;
use super::{Failure, Inside, Opening};
use crate::error::UpstreamError;
use crate::sniff::{Sniffed, WINDOW};

/// A route, and the addresses that the connection may go to alone, where it is bound to some.
pub(in crate::engine) type Decided = (Route, Option<Vec<SocketAddr>>);

/// What becomes of a connection.
#[derive(Debug)]
pub(in crate::engine) enum Choice {
    /// Its bytes go this way.
    Way(Decided),
    /// What is inside is looked at.
    Inside(Inside),
}

/// Whether what is inside of a connection may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Inside,
    Outside,
}

impl Opening {
    /// Asks the rules about a connection that is not looked into; the route is noted in the record.
    pub(in crate::engine) async fn choose(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Decided, Failure> {
        match self.ask(entry, client, prescribed, Look::Outside).await? {
            Choice::Way(decided) => Ok(decided),
            // Never looked for.
            Choice::Inside(_) => Err(Failure::Denied),
        }
    }

    /// Asks the rules; the route is noted in the record.
    pub(in crate::engine) async fn consider(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Choice, Failure> {
        self.ask(entry, client, prescribed, Look::Inside).await
    }

    async fn ask(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
        look: Look,
    ) -> Result<Choice, Failure> {
        let shared = Arc::clone(&entry.shared);
        let course = Arc::clone(&entry.course);
        if let Destination::Addr(to) = &entry.destination {
            let protocol = self.flow.protocol();
            // Of a connection that is not there yet no packet has come: the client's address is not
            // one that a dial of ours could have.
            let made = !matches!(self.flow, Flow::Unmade);
            // A method that brings a program's socket elsewhere first leaves it the chance to have
            // the address of a dial to the same place; whose it is, such a method knows.
            let of_another = |pid| pid != std::process::id();
            let made = made && !entry.identity.pid.is_some_and(of_another);
            if made && entry.dialler.is_ours(protocol, client.0, to.addr()) {
                return Err(Failure::OwnDial);
            }
            entry.look_up(client)?;
        }
        let watched = look == Look::Inside && !self.watchers.is_empty();
        let choice = match prescribed {
            Some(name) => {
                let route = named(&course.proxies, name)?;
                match watched {
                    // Boxed: not every connection needs the room.
                    true => Box::pin(self.watch(entry, &shared, route)).await?,
                    false => Choice::Way((route, None)),
                }
            }
            None => {
                let facts = entry.facts();
                match course.rules.decide(facts) {
                    Decision::Rule(rule) if !watched => {
                        let only = bound(&course.rules, rule, facts, None);
                        Choice::Way((chosen(rule, entry, &course.proxies)?, only))
                    }
                    _ => Box::pin(self.decide(entry, &shared, &course, look)).await?,
                }
            }
        };
        if let Choice::Way((route, _)) | Choice::Inside(Inside::Tls((route, _))) = &choice {
            entry.sent_to(*route);
        }
        Ok(choice)
    }

    /// Looks whether a connection whose route is prescribed has requests.
    async fn watch(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        route: Route,
    ) -> Result<Choice, Failure> {
        self.connected().await?;
        self.sniff(entry, shared.limits.sniff).await?;
        Ok(match Spoken::of(entry.sniffer.app()) {
            Some(spoken) => session(spoken, Some(route)),
            None => Choice::Way((route, None)),
        })
    }

    /// Asks the rules, and looks for what they want to know.
    ///
    /// The client's first bytes are waited for only where they choose between ways, or a rule or a
    /// handler is about requests: nothing is dialled before that, because a connection to a
    /// destination that is to be rejected or reached through a proxy would show. So a server that
    /// speaks first is heard after the sniff limit there, and at once everywhere else.
    ///
    /// Where a rule asks for the addresses of a name that has none, the connection fails: whether
    /// the rule rejects it cannot be told.
    async fn decide(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        course: &Course,
        look: Look,
    ) -> Result<Choice, Failure> {
        let mut look = look;
        // Its TLS is opened, and where it goes is what the rules for connections say.
        let mut opens = false;
        let mut sniffed: Option<Sniffed> = None;
        let mut found: Option<Vec<SocketAddr>> = None;
        let mut ips: Option<Vec<IpAddr>> = None;
        loop {
            let watched = look == Look::Inside && !self.watchers.is_empty();
            let facts = Facts {
                sniffed: sniffed.as_ref(),
                addresses: ips.as_deref(),
                ..entry.facts()
            };
            let decision = match look {
                Look::Inside => course.rules.decide(facts),
                Look::Outside => course.rules.decide_unseen(facts),
            };
            match decision {
                Decision::Rule(rule) => {
                    let rejected = rule.is_some_and(|rule| rule.action == Action::Reject);
                    let spoken = match &sniffed {
                        Some(sniffed) => Spoken::of(sniffed.app),
                        None if watched && !rejected => {
                            self.connected().await?;
                            self.sniff(entry, shared.limits.sniff).await?;
                            sniffed = Some(entry.sniffer.conclude());
                            continue;
                        }
                        None => None,
                    };
                    if let (Some(spoken), true, false) = (spoken, watched, rejected) {
                        return Ok(session(spoken, None));
                    }
                    let only = bound(&course.rules, rule, facts, found);
                    let way = (chosen(rule, entry, &course.proxies)?, only);
                    return Ok(match opens {
                        true => Choice::Inside(Inside::Tls(way)),
                        false => Choice::Way(way),
                    });
                }
                Decision::Inspect(_) => match sniffed.as_ref().map(|it| Spoken::of(it.app)) {
                    Some(Some(spoken)) => return Ok(session(spoken, None)),
                    _ => look = Look::Outside,
                },
                Decision::Open(_) if shared.distrusts(entry) => look = Look::Outside,
                // What it rejects is some requests; the server is that of the others.
                Decision::Open(rule) if rule.action == Action::Reject => {
                    opens = true;
                    look = Look::Outside;
                }
                Decision::Open(rule) => {
                    let only = bound(&course.rules, Some(rule), facts, found);
                    let route = chosen(Some(rule), entry, &course.proxies)?;
                    return Ok(Choice::Inside(Inside::Tls((route, only))));
                }
                Decision::Unknown(rule) => {
                    entry.decided_by(&rule.name);
                    return Err(Failure::Stranger);
                }
                Decision::Sniff if !watched && course.rules.leave_direct(facts) => {
                    entry.decided_later();
                    return Ok(Choice::Way((Route::Direct, None)));
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

    /// Reads the client's first bytes until they decide, the client ends, or `limit` has passed.
    pub(super) async fn sniff(
        &mut self,
        entry: &mut Entry,
        limit: Duration,
    ) -> Result<(), Failure> {
        self.listened = true;
        let deadline = Instant::now() + limit;
        if let Flow::Udp(_) = &self.flow {
            while !entry.sniffer.verdict().is_decided() && self.heard < MOST_HEARD {
                let left = deadline.saturating_duration_since(Instant::now());
                let known = self.heard;
                self.hear(entry, left).await?;
                if self.heard == known {
                    break;
                }
            }
            return Ok(());
        }
        let Self {
            flow,
            prefix,
            silent,
            ..
        } = self;
        *silent = false;
        let sniffer = &mut entry.sniffer;
        // Who has begun to speak goes on: whoever is slow may not pass for somebody else.
        let patience = deadline + entry.shared.limits.connect;
        while !sniffer.verdict().is_decided() && prefix.len() < WINDOW {
            let known = prefix.len();
            prefix.reserve(FIRST_READ);
            let until = if sniffer.has_begun() {
                patience
            } else {
                deadline
            };
            let Ok(read) = timeout_at(until, read(flow, prefix)).await else {
                *silent = prefix.is_empty();
                break;
            };
            if read.map_err(Failure::Client)? == 0 {
                break;
            }
            sniffer.push(&prefix[known..]);
        }
        Ok(())
    }

    /// Takes datagrams that the client sends, if any comes before `limit` has passed.
    pub(super) async fn hear(&mut self, entry: &mut Entry, limit: Duration) -> Result<(), Failure> {
        let receiving = poll_fn(|cx| self.poll_hear(entry, cx));
        match timeout_at(Instant::now() + limit, receiving).await {
            Ok(received) => received.map_err(Failure::Client),
            Err(_) => Ok(()),
        }
    }

    /// Takes datagrams that the client sends until `work` is done: they may not fill the memory
    /// that the host has for UDP.
    pub(super) async fn hearing<T>(
        &mut self,
        entry: &mut Entry,
        work: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done.map_err(Failure::Upstream));
            }
            loop {
                match self.poll_hear(entry, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Client(error))),
                }
            }
        })
        .await
    }

    /// Takes what the client has sent, where datagrams are held.
    fn poll_hear(&mut self, entry: &mut Entry, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            flow: Flow::Udp(flow),
            held: Some(held),
            heard,
            ..
        } = self
        else {
            return Poll::Pending;
        };
        room::with(|batch, _| {
            ready!(flow.poll_receive(cx, batch))?;
            for datagram in batch.iter() {
                entry.sniffer.push(datagram);
                held.push(datagram);
            }
            *heard += batch.len();
            Poll::Ready(Ok(()))
        })
    }
}

/// The addresses that a connection may go to alone, now that the rules have decided.
fn bound(
    rules: &Rules,
    rule: Option<&Rule>,
    facts: Facts<'_>,
    found: Option<Vec<SocketAddr>>,
) -> Option<Vec<SocketAddr>> {
    bounds(rule, facts.destination, || rules.pins(rule, facts), found)
}

/// The addresses that may be gone to alone, now that the rules have decided; `pins` tells whether
/// they have gone by addresses, and `found` are those that were looked up for them.
pub(in crate::engine) fn bounds(
    rule: Option<&Rule>,
    destination: &Destination,
    pins: impl FnOnce() -> bool,
    found: Option<Vec<SocketAddr>>,
) -> Option<Vec<SocketAddr>> {
    let proxied = matches!(rule.map(|rule| &rule.action), Some(Action::Upstream(_)));
    let found = match (proxied, destination) {
        (true, _) if !pins() => None,
        (true, Destination::Addr(to)) => Some(vec![to.addr()]),
        _ => found,
    };
    found.map(|mut addresses| {
        addresses.retain(|address| permits(rule, address.ip()));
        addresses
    })
}

/// The route that a rule chooses, noted in the record.
fn chosen(rule: Option<&Rule>, entry: &mut Entry, proxies: &[Proxy]) -> Result<Route, Failure> {
    if let Some(rule) = rule {
        entry.decided_by(&rule.name);
    }
    route(rule, proxies)
}

/// The route that a rule chooses.
pub(in crate::engine) fn route(rule: Option<&Rule>, proxies: &[Proxy]) -> Result<Route, Failure> {
    match rule.map(|rule| &rule.action) {
        None | Some(Action::Direct) => Ok(Route::Direct),
        Some(Action::Reject) => Err(Failure::Denied),
        Some(Action::Upstream(name)) => named(proxies, name),
    }
}

fn session(spoken: Spoken, prescribed: Option<Route>) -> Choice {
    Choice::Inside(Inside::Session(spoken, prescribed))
}

fn named(proxies: &[Proxy], name: &str) -> Result<Route, Failure> {
    let index = proxies.iter().position(|proxy| proxy.name == name);
    index
        .map(Route::Proxy)
        .ok_or_else(|| UpstreamError::Unknown(name.to_owned()).into())
}

pub(in crate::engine) async fn lookup(
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

/// Room for the first read of a sniffed connection; a hello with a post-quantum key fits.
const FIRST_READ: usize = 2048;

/// How many datagrams are looked at for the rules: a hello needs a few.
const MOST_HEARD: usize = 16;
