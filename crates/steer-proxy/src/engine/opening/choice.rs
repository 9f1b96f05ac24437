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
use super::super::rules::{Decision, Facts, Rules, permits};
use super::super::udp::room;
use super::{Failure, Opening};
use crate::error::UpstreamError;
use crate::sniff::{Sniffed, WINDOW};

/// A route, and the addresses that the connection may go to alone, where it is bound to some.
pub(in crate::engine) type Decided = (Route, Option<Vec<SocketAddr>>);

impl Opening {
    /// Asks the rules; the route is noted in the record.
    pub(in crate::engine) async fn choose(
        &mut self,
        entry: &mut Entry,
        client: ClientAddr,
        prescribed: Option<&str>,
    ) -> Result<Decided, Failure> {
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
        let decided = match prescribed {
            Some(name) => (named(&course.proxies, name)?, None),
            None => {
                let facts = entry.facts();
                match course.rules.decide(facts) {
                    Decision::Rule(rule) => {
                        let only = bounds(&course.rules, rule, facts, None);
                        (chosen(rule, entry, &course.proxies)?, only)
                    }
                    // Boxed: not every connection needs the room.
                    _ => Box::pin(self.decide(entry, &shared, &course)).await?,
                }
            }
        };
        entry.sent_to(decided.0);
        Ok(decided)
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
    async fn decide(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        course: &Course,
    ) -> Result<Decided, Failure> {
        let mut sniffed: Option<Sniffed> = None;
        let mut found: Option<Vec<SocketAddr>> = None;
        let mut ips: Option<Vec<IpAddr>> = None;
        loop {
            let facts = Facts {
                sniffed: sniffed.as_ref(),
                addresses: ips.as_deref(),
                ..entry.facts()
            };
            match course.rules.decide(facts) {
                Decision::Rule(rule) => {
                    let only = bounds(&course.rules, rule, facts, found);
                    return Ok((chosen(rule, entry, &course.proxies)?, only));
                }
                Decision::Unknown(rule) => {
                    entry.decided_by(&rule.name);
                    return Err(Failure::Stranger);
                }
                Decision::Inspect(rule) | Decision::Open(rule) => {
                    entry.decided_by(&rule.name);
                    return Err(Failure::Denied);
                }
                Decision::Sniff if course.rules.leave_direct(facts) => {
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

/// Room for the first read of a sniffed connection; a hello with a post-quantum key fits.
const FIRST_READ: usize = 2048;

/// How many datagrams are looked at for the rules: a hello needs a few.
const MOST_HEARD: usize = 16;
