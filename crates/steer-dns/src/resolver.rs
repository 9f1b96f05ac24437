use std::net::IpAddr;
use std::sync::Arc;

use steer_core::intent::{Dns, FakeIp, Intent};
use steer_core::names::{Conversation, Learned, Meaning, Names, Query, ResolverAnswer, Transport};
use steer_core::plan::Plan;

use crate::clients::Clients;
use crate::clock::{Clock, SystemClock};
use crate::codec::{Class, Header, Message, ResponseCode};
use crate::counters::{Counters, Counts, Event, Throttle};
use crate::error::ResolverError;
use crate::fake::{Choice, Fake, Verdict};
use crate::memory::{Lesson, Memory};
use crate::query::{Asked, Sent};
use crate::rebinding::Rebinding;
use crate::reply::{self, Reply, Why};
use crate::{canary, local};

/// Takes part in the DNS conversations of an engine, and tells what addresses mean.
///
/// ```
/// use steer_core::instance::Instance;
/// use steer_core::intent::{Dns, Intent, Scope};
/// use steer_core::names::{Meaning, Names};
///
/// let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
/// assert!(steer_dns::for_intent(&intent)?.is_none());
/// intent.traffic.dns = Some(Dns::Capture);
/// let resolver = steer_dns::for_intent(&intent)?.expect("DNS is captured");
/// let [client, address] = ["127.0.0.1", "192.0.2.1"].map(|a| a.parse().unwrap());
/// assert_eq!(resolver.lookup(client, address), Meaning::Unknown);
/// # Ok::<(), steer_dns::ResolverError>(())
/// ```
#[derive(Debug)]
pub struct Resolver {
    memory: Memory,
    fake: Option<Fake>,
    /// Where no answer of others may lead.
    rebinding: Rebinding,
    counters: Counters,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
}

/// The resolver that an intent asks for: `dns: capture` remembers answers, `dns.fake_ip` makes
/// addresses up as well.
///
/// # Errors
/// A pool is too small, or the file of the mapping cannot be used.
pub fn for_intent(intent: &Intent) -> Result<Option<Arc<Resolver>>, ResolverError> {
    let fake = &intent.resolve.fake;
    if fake.is_none() && intent.traffic.dns != Some(Dns::Capture) {
        return Ok(None);
    }
    let clock = Arc::new(SystemClock::start());
    let fake = fake
        .as_ref()
        .map(|fake| made_up(intent, fake, clock.as_ref()))
        .transpose()?;
    let memory = Memory::new(Clients::of(intent));
    let rebinding = Rebinding::for_intent(intent);
    Ok(Some(Arc::new(Resolver::new(
        memory, fake, rebinding, clock,
    ))))
}

/// As [`for_intent`], for a plan that may hold the method `dns`, which brings a resolver of its
/// own.
///
/// # Errors
/// As [`for_intent`].
pub fn for_plan(intent: &Intent, plan: &Plan) -> Result<Option<Arc<Resolver>>, ResolverError> {
    if local::serves(plan) {
        Ok(Some(Arc::new(alone(intent)?)))
    } else {
        for_intent(intent)
    }
}

/// The resolver of the method `dns`.
pub(crate) fn alone(intent: &Intent) -> Result<Resolver, ResolverError> {
    let memory = Memory::new(Clients::OneHost);
    let fake = local::names(intent)?;
    let clock = Arc::new(SystemClock::start());
    Ok(Resolver::new(
        memory,
        Some(fake),
        Rebinding::alone(intent),
        clock,
    ))
}

fn made_up(intent: &Intent, fake: &FakeIp, clock: &dyn Clock) -> Result<Fake, ResolverError> {
    let FakeIp {
        pools,
        names,
        except,
        file,
    } = fake;
    let traffic = &intent.traffic;
    let names = if names.is_empty() {
        &traffic.include.domains
    } else {
        names
    };
    // A name that is left out of steering must not lead to the engine.
    let except = except.iter().chain(&traffic.exclude.domains);
    let fake = Fake::new(pools, Choice::new(names, except), &[], None)?;
    match file {
        Some(path) => fake.kept_in(path, clock),
        None => Ok(fake),
    }
}

impl Resolver {
    pub(crate) fn new(
        memory: Memory,
        fake: Option<Fake>,
        rebinding: Rebinding,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            memory,
            fake,
            rebinding,
            counters: Counters::default(),
            throttle: Throttle::default(),
            clock,
        }
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    fn forward(&self, query: &[u8]) -> Query {
        self.counters.add(Event::Forwarded);
        Query::Forward(query.to_vec())
    }

    fn reply(&self, answer: Vec<u8>) -> Query {
        self.counters.add(Event::Answered);
        Query::Answer(answer)
    }

    fn exhausted(&self, answer: Vec<u8>) -> Query {
        self.counters.add(Event::Exhausted);
        if self.throttle.admits(self.clock.now()) {
            tracing::warn!(
                help = "write a larger pool under dns.fake_ip.pools, or fewer names",
                "every made-up address is in use: names are not resolved"
            );
        }
        self.reply(answer)
    }

    fn ignore(&self, why: &'static str) -> ResolverAnswer {
        self.counters.add(Event::Ignored);
        ResolverAnswer::Ignore(why)
    }

    fn deliver(&self, asked: &Asked, answer: &[u8], response: ResponseCode) -> ResolverAnswer {
        if answer.len() <= asked.limit {
            return ResolverAnswer::Deliver(answer.to_vec());
        }
        self.counters.add(Event::Truncated);
        ResolverAnswer::Deliver(reply::truncated(asked, response))
    }

    fn answered(&self, client: IpAddr, asked: &Asked, answer: &[u8]) -> ResolverAnswer {
        let message = match Message::parse(answer) {
            Ok(message) => message,
            Err(malformed) => return self.ignore(malformed.reason()),
        };
        let response = message.header.response;
        let same = message.questions.as_slice() == [asked.question.clone()];
        // A resolver that understood nothing of a query may leave its question out.
        let bare = message.questions.is_empty()
            && message.answers.is_empty()
            && response != ResponseCode::NO_ERROR;
        if !same && !bare {
            return self.ignore("it answers another question");
        }
        if let Some(address) = self.rebinding.forbidden(&asked.question.name, &message) {
            self.counters.add(Event::Rebinding);
            if self.throttle.admits(self.clock.now()) {
                tracing::warn!(
                    name = %asked.question.name,
                    %address,
                    help = "if the name is yours and is to do so, write it under dns.rebind",
                    "an answer points at this host and was refused"
                );
            }
            let refusal = Reply::new(asked, ResponseCode::SERV_FAIL).because(Why::Blocked);
            return ResolverAnswer::Deliver(refusal.finish());
        }
        if asked.question.class == Class::IN {
            self.memory
                .learn(client, &asked.question, &message, self.clock.now());
        }
        self.deliver(asked, answer, response)
    }
}

impl Conversation for Resolver {
    fn query(&self, _client: IpAddr, transport: Transport, query: &[u8]) -> Query {
        let asked = match Sent::read(transport, query) {
            Sent::Query(asked) => asked,
            Sent::Other { .. } => return self.forward(query),
            Sent::Faulty(answer) => {
                self.counters.add(Event::Malformed);
                return self.reply(answer);
            }
            Sent::Nothing(why) => {
                self.counters.add(Event::Malformed);
                return Query::Drop(why);
            }
        };
        if let Some(answer) = canary::answer(&asked) {
            return self.reply(answer);
        }
        let now = self.clock.now();
        let verdict = self.fake.as_ref().map(|fake| fake.answer(&asked, now));
        match verdict {
            Some(Verdict::Answer(answer)) => self.reply(answer),
            Some(Verdict::Exhausted(answer)) => self.exhausted(answer),
            Some(Verdict::NotOurs) | None => self.forward(query),
        }
    }

    fn answer(
        &self,
        client: IpAddr,
        transport: Transport,
        query: &[u8],
        answer: &[u8],
    ) -> ResolverAnswer {
        let (header, asked) = match Sent::read(transport, query) {
            Sent::Query(asked) => (asked.header, Ok(asked)),
            Sent::Other { header, limit } => (header, Err(limit)),
            Sent::Faulty(_) | Sent::Nothing(_) => return self.ignore("nothing was asked"),
        };
        match Header::read(answer) {
            Err(malformed) => return self.ignore(malformed.reason()),
            Ok(head) if !head.is_answer => return self.ignore("it is no answer"),
            Ok(head) if head.id != header.id || head.op_code != header.op_code => {
                return self.ignore("it answers another query");
            }
            Ok(_) => {}
        }
        match asked {
            Ok(asked) => self.answered(client, &asked, answer),
            Err(_) if Message::parse(answer).is_err() => self.ignore("it is malformed"),
            Err(limit) if answer.len() > limit => {
                self.counters.add(Event::Truncated);
                ResolverAnswer::Deliver(reply::bare_truncated(header))
            }
            Err(_) => ResolverAnswer::Deliver(answer.to_vec()),
        }
    }

    fn learned(&self, query: &[u8], answer: &[u8]) -> Option<Learned> {
        let message = Message::parse(answer).ok()?;
        // Whether it answers the query was seen when it was delivered.
        let Sent::Query(asked) = Sent::read(Transport::Tcp, query) else {
            return None;
        };
        let question = &asked.question;
        if question.class != Class::IN
            || self.rebinding.forbidden(&question.name, &message).is_some()
        {
            return None;
        }
        let Lesson { name, addresses } = Lesson::of(question, &message)?;
        let addresses = addresses.into_iter().map(|(address, _)| address).collect();
        Some(Learned { name, addresses })
    }
}

impl Names for Resolver {
    fn lookup(&self, client: IpAddr, address: IpAddr) -> Meaning {
        let now = self.clock.now();
        if let Some(fake) = &self.fake
            && let Some(name) = fake.name(address, now)
        {
            return name.map_or_else(
                || {
                    self.counters.add(Event::Dead);
                    Meaning::Dead
                },
                Meaning::Fake,
            );
        }
        self.memory
            .name(client, address, now)
            .map_or(Meaning::Unknown, Meaning::Answered)
    }
}

#[cfg(test)]
mod tests;
