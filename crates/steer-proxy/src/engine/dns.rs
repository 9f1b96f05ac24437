//! DNS that was steered: each query on its own, answered here or asked of the resolver.
//!
//! ```text
//! client ─> Wire ─> Conversation::query ─┬─> answered here ──────────────────────┬─> client
//!                                        └─> Pending ─> Resolver ─> ::answer ────┘
//! ```
//!
//! Messages keep their identifiers, and each of the client's flows has a way of its own to the
//! resolver, so an answer can be forged no easier than without the engine.
mod pending;
mod plain;
mod resolver;
mod wire;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use steer_core::address::ClientAddr;
use steer_core::names::{Conversation, Query, ResolverAnswer, Transport};
use steer_core::steered::{Flow, Refusal, Steered, abort};
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::connection::{chain, fail};
use super::entry::Entry;
use super::opening::{Failure, Opening};
use crate::record::Outcome;
use pending::Pending;
use resolver::{Ask, Resolver};
use wire::Wire;

pub(super) use plain::Plain;

/// Takes part in one conversation, from its first query to its end.
pub(super) fn run(shared: Arc<Shared>, steered: Steered) -> impl Future<Output = ()> + Send {
    Box::pin(converse(shared, steered))
}

async fn converse(shared: Arc<Shared>, steered: Steered) {
    let mut entry = Entry::new(Arc::clone(&shared), &steered);
    let Steered {
        flow,
        client,
        upstream,
        answer,
        ..
    } = steered;
    entry.ask(shared.dns_resolver(&entry.destination, &entry.dialler));
    let mut opening = Opening::new(flow, answer);
    let chosen = opening.choose(&mut entry, client, upstream.as_deref());
    let ask = match chosen.await {
        Ok((route, only)) => Ask {
            route,
            only,
            client,
        },
        Err(failure) => return fail(entry, opening.flow, opening.answer, &failure).await,
    };
    if let Err(failure) = opening.connected().await {
        return fail(entry, opening.flow, opening.answer, &failure).await;
    }
    // Until somebody is asked, it goes nowhere.
    entry.sent_to(super::entry::Route::None);
    let mut talk = Talk::new(shared, client, &opening.flow);
    let end = talk.go_on(&mut entry, &mut opening, &ask).await;
    let (outcome, error) = match end {
        End::Idle if entry.traffic.received() > 0 => (Outcome::Ok, None),
        End::Idle => match talk.dropped {
            Some(why) => (Outcome::Error, Some(why.to_owned())),
            None => (Outcome::Timeout, Some("nothing came back".to_owned())),
        },
        End::Client(None) => (Outcome::Ok, None),
        End::Client(Some(error)) => (Outcome::Reset, Some(format!("the client: {error}"))),
        End::Resolver(failure) => return fail(entry, opening.flow, None, &failure).await,
    };
    entry.ended(outcome, error);
    match opening.flow {
        // Every answer that there is has been written.
        Flow::Tcp(stream) if outcome == Outcome::Ok => {
            let _ = socket2::SockRef::from(&stream).set_linger(None);
        }
        Flow::Tcp(stream) => abort(stream),
        _ => {}
    }
}

/// How a conversation ended.
enum End {
    /// Nothing was said for the idle time.
    Idle,
    /// The client is gone, in order where there is no error.
    Client(Option<io::Error>),
    /// The resolver cannot be asked.
    Resolver(Failure),
}

/// What is going on in a conversation.
struct Talk {
    shared: Arc<Shared>,
    conversation: Arc<dyn Conversation>,
    client: IpAddr,
    transport: Transport,
    wire: Wire,
    pending: Pending,
    resolver: Option<Resolver>,
    /// Why the last message of the client was none.
    dropped: Option<&'static str>,
    /// When something was said last.
    said: Instant,
    /// Whether the client has said that it says no more.
    closed: bool,
}

impl Talk {
    fn new(shared: Arc<Shared>, client: ClientAddr, flow: &Flow) -> Self {
        Self {
            conversation: Arc::clone(&shared.conversation),
            client: client.0.ip().to_canonical(),
            transport: match flow {
                Flow::Udp(_) => Transport::Udp,
                _ => Transport::Tcp,
            },
            wire: Wire::default(),
            pending: Pending::default(),
            resolver: None,
            dropped: None,
            said: Instant::now(),
            closed: false,
            shared,
        }
    }

    async fn go_on(&mut self, entry: &mut Entry, opening: &mut Opening, ask: &Ask) -> End {
        let stopping: OwnedNotified = Arc::clone(&self.shared.stopping).notified_owned();
        let mut stopping = std::pin::pin!(stopping);
        let mut stops = self.shared.stops();
        loop {
            if self.closed && self.pending.is_empty() {
                return End::Client(None);
            }
            let due = self.said + self.patience(stops);
            let takes_more = !self.closed && !self.pending.is_full();
            tokio::select! {
                () = &mut stopping, if !stops => stops = true,
                () = sleep_until(due) => return End::Idle,
                message = self.wire.next(&mut opening.flow), if takes_more => {
                    self.said = Instant::now();
                    match message {
                        Ok(Some(message)) => {
                            entry.traffic.sent_counter().add(message.len());
                            if let Err(end) = self.hear(&message, entry, opening, ask).await {
                                return end;
                            }
                        }
                        Ok(None) => self.closed = true,
                        Err(error) => return End::Client(Some(error)),
                    }
                }
                answer = Resolver::next(&mut self.resolver) => {
                    match answer {
                        Ok(answer) => {
                            self.said = Instant::now();
                            if let Err(error) = self.pass(&answer, entry, opening).await {
                                return End::Client(Some(error));
                            }
                        }
                        Err(error) => {
                            if let Err(end) = self.ask_again(error, entry, opening, ask).await {
                                return end;
                            }
                        }
                    }
                }
            }
        }
    }

    /// How long nothing may be said.
    fn patience(&self, stops: bool) -> Duration {
        let idle = self.shared.limits.udp.dns;
        if stops {
            idle.min(QUIET)
        } else if self.transport == Transport::Udp && self.pending.is_empty() {
            // Most programs ask from a socket once, and each conversation holds a place.
            idle.min(ANSWERED)
        } else {
            idle
        }
    }

    /// What becomes of a message of the client.
    async fn hear(
        &mut self,
        message: &[u8],
        entry: &mut Entry,
        opening: &mut Opening,
        ask: &Ask,
    ) -> Result<(), End> {
        match self
            .conversation
            .query(self.client, self.transport, message)
        {
            Query::Answer(answer) => self
                .tell(&answer, entry, opening)
                .await
                .map_err(|error| End::Client(Some(error))),
            Query::Drop(why) => {
                tracing::debug!(client = %self.client, why, "a message is no DNS query");
                self.dropped = Some(why);
                Ok(())
            }
            Query::Forward(query) => {
                if self.resolver.is_none() {
                    self.open(entry, opening, ask).await?;
                }
                let resolver = self.resolver.as_mut().expect("it was opened");
                let sent = resolver.send(&query).await;
                self.pending.add(query);
                match sent {
                    Ok(()) => Ok(()),
                    Err(error) => self.ask_again(error, entry, opening, ask).await,
                }
            }
        }
    }

    async fn open(
        &mut self,
        entry: &mut Entry,
        opening: &mut Opening,
        ask: &Ask,
    ) -> Result<(), End> {
        let opened = Resolver::open(&self.shared, entry, opening, ask, self.transport);
        let resolver = opened.await.map_err(End::Resolver)?;
        self.resolver = Some(resolver);
        Ok(())
    }

    /// A resolver may close a connection that rests at any time: what it has not answered is asked
    /// once more.
    async fn ask_again(
        &mut self,
        error: io::Error,
        entry: &mut Entry,
        opening: &mut Opening,
        ask: &Ask,
    ) -> Result<(), End> {
        let resolver = self.resolver.take();
        if self.pending.is_empty() {
            return Ok(());
        }
        let may = resolver.is_some_and(|resolver| resolver.may_be_asked_again());
        if !may || !self.pending.again() {
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => Refusal::Upstream,
                _ => Refusal::of(&error),
            };
            return Err(End::Resolver(Failure::Resolver(why, error)));
        }
        self.open(entry, opening, ask).await?;
        let resolver = self.resolver.as_mut().expect("it was opened");
        for query in self.pending.queries() {
            if let Err(error) = resolver.send(query).await {
                return Err(End::Resolver(Failure::Resolver(Refusal::Upstream, error)));
            }
        }
        Ok(())
    }

    /// What becomes of a message of the resolver.
    async fn pass(
        &mut self,
        answer: &[u8],
        entry: &mut Entry,
        opening: &mut Opening,
    ) -> io::Result<()> {
        let mut ignored = None;
        let mut told = None;
        for index in self.pending.matching(answer) {
            let query = self.pending.query(index);
            let (client, transport) = (self.client, self.transport);
            match self.conversation.answer(client, transport, query, answer) {
                ResolverAnswer::Ignore(why) => ignored = Some(why),
                ResolverAnswer::Deliver(text) => {
                    told = Some((index, text));
                    break;
                }
            }
        }
        let Some((index, mut text)) = told else {
            let why = ignored.unwrap_or("it answers no query that waits");
            tracing::debug!(client = %self.client, why, "an answer of the resolver is dropped");
            return Ok(());
        };
        if let Some(follower) = &self.shared.follower
            && let Some(learned) = self.conversation.learned(self.pending.query(index), answer)
        {
            // The rules know the addresses before the program does.
            if let Err(error) = follower.learned(&learned).await {
                tracing::debug!(name = %learned.name, %error, "an answer is held back");
                text = plain::failure(self.pending.query(index));
            }
        }
        self.pending.remove(index);
        self.tell(&text, entry, opening).await
    }

    async fn tell(
        &mut self,
        message: &[u8],
        entry: &Entry,
        opening: &mut Opening,
    ) -> io::Result<()> {
        self.wire.send(&mut opening.flow, message).await?;
        entry.traffic.received_counter().add(message.len());
        Ok(())
    }
}

/// Names the cause of a resolver's failure for the record.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the resolver broke off".to_owned(),
        _ => format!("the resolver: {}", chain(error)),
    }
}

/// How long a conversation by datagrams rests before it ends, where every query is answered: who
/// asks for both kinds of addresses from one socket asks for the second one by then. What comes
/// later begins another one.
const ANSWERED: Duration = Duration::from_secs(1);

/// How long a conversation rests before it ends, where the engine stops.
const QUIET: Duration = Duration::from_millis(300);
