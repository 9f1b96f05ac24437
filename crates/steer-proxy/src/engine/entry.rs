//! One connection's line in the records.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use steer_core::address::{ClientAddr, Destination, HostName, Protocol};
use steer_core::method::Method;
use steer_core::names::Meaning;
use steer_core::policy::App;
use steer_core::steered::{Identity, Refusal, Steered};
use time::OffsetDateTime;
use tracing::Span;

use super::Shared;
use super::course::Course;
use super::http::Seen;
use super::opening::Failure;
use super::rules::{Decision, Facts};
use crate::handler::About;
use crate::metrics::Ended;
use crate::record::{ConnectionId, DIRECT, HostFrom, NO_UPSTREAM, Outcome, Record, TlsSeen};
use crate::relay::{End, Expired, Side, Traffic};
use crate::sniff::Sniffer;
use crate::upstream::direct::Dialler;

/// What is known of a connection so far. Dropping it writes the record, however the connection
/// ended: also when its task is aborted or panics.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ConnectionId,
    /// What it goes by.
    pub(super) course: Arc<Course>,
    /// What dials for it: the engine's, or one where its program is.
    pub(super) dialler: Arc<Dialler>,
    /// Where it goes: what was asked for, or the name that a made-up address stands for.
    pub(super) destination: Destination,
    /// What was asked for, where that is something else.
    asked: Option<Destination>,
    /// Whether the destination is the name that a made-up address stands for.
    made_up: bool,
    /// The name that a resolver's answer gives to the destination's address.
    answered: Option<HostName>,
    protocol: Protocol,
    pub(super) identity: Identity,
    pub(super) traffic: Traffic,
    pub(super) sniffer: Sniffer,
    client: ClientAddr,
    via: Method,
    rule: Option<String>,
    /// Whether the rule is the one that the first bytes tell, when they have passed.
    late: bool,
    /// Whether its bytes do not pass the engine.
    unseen: bool,
    upstream: Route,
    /// What is noted of what is inside, where that is looked at.
    pub(super) seen: Option<Arc<Seen>>,
    outcome: Outcome,
    error: Option<String>,
    started: Instant,
    /// Around all that is said of it.
    pub(super) span: Span,
}

/// Where a connection was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    None,
    Direct,
    /// The proxy with this index.
    Proxy(usize),
}

impl Route {
    /// Its name in records.
    pub(super) fn name(self, course: &Course) -> &str {
        match self {
            Self::None => NO_UPSTREAM,
            Self::Direct => DIRECT,
            Self::Proxy(index) => &course.proxies[index].name,
        }
    }
}

impl Entry {
    pub(super) fn new(shared: Arc<Shared>, steered: &Steered) -> Self {
        let dialler = match &steered.inside {
            None => Arc::clone(&shared.dialler),
            Some(inside) => Arc::new(shared.dialler.at(inside)),
        };
        let id = ConnectionId::next();
        Self {
            span: shared.connection_begun(id, steered),
            course: shared.course(),
            shared,
            id,
            dialler,
            destination: steered.destination.clone(),
            asked: None,
            made_up: false,
            answered: None,
            protocol: steered.flow.protocol(),
            identity: steered.identity.clone(),
            traffic: Traffic::default(),
            sniffer: match (steered.app, steered.flow.protocol()) {
                (Some(app), _) => Sniffer::told(app),
                (None, Protocol::Tcp) => Sniffer::default(),
                (None, Protocol::Udp) => Sniffer::datagrams(steered.destination.port()),
            },
            client: steered.client,
            via: steered.via,
            rule: None,
            late: false,
            unseen: false,
            upstream: Route::None,
            seen: None,
            // Stands if nobody comes to say otherwise: the task was aborted.
            outcome: Outcome::Reset,
            error: Some("the engine stopped".to_owned()),
            started: Instant::now(),
        }
    }

    /// Has a conversation go to a resolver of our choice.
    pub(super) fn ask(&mut self, resolver: Option<SocketAddr>) {
        if let Some(resolver) = resolver {
            self.go_to(Destination::addr(resolver));
        }
    }

    fn go_to(&mut self, destination: Destination) {
        let before = std::mem::replace(&mut self.destination, destination);
        self.asked.get_or_insert(before);
    }

    /// Finds out what the address means to the client.
    ///
    /// # Errors
    /// It was made up and means nothing.
    pub(super) fn look_up(&mut self, client: ClientAddr) -> Result<(), Failure> {
        let (Destination::Addr(to), Some(names)) = (&self.destination, &self.shared.names) else {
            return Ok(());
        };
        let (ip, port) = (to.addr().ip(), to.addr().port());
        match names.lookup(client.0.ip().to_canonical(), ip) {
            Meaning::Unknown => {}
            Meaning::Answered(name) => self.answered = Some(name),
            Meaning::Fake(host) => {
                self.go_to(Destination::Name { host, port });
                self.made_up = true;
            }
            Meaning::Dead => return Err(Failure::Dead),
        }
        Ok(())
    }

    /// What the rules can know before anything is looked at.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            answered: self.answered.as_ref(),
            ..Facts::at_first(self.protocol, &self.destination, &self.identity)
        }
    }

    /// Whether a name is known without a look at what the client sends.
    pub(super) fn is_named(&self) -> bool {
        self.destination.name().is_some() || self.answered.is_some()
    }

    /// What a proxy is asked for: the name, where one is known.
    ///
    /// A name that the destination's address was an answer for goes before one that the client
    /// claims: the rules have gone by it.
    pub(super) fn target(&self) -> Destination {
        let port = self.destination.port();
        let named = |host: HostName| Destination::Name { host, port };
        match &self.destination {
            Destination::Name { .. } => self.destination.clone(),
            Destination::Addr(_) => {
                let known = self.answered.clone();
                let host = known.or_else(|| self.sniffer.conclude().host);
                host.map_or_else(|| self.destination.clone(), named)
            }
        }
    }

    /// What is told to handlers.
    pub(super) fn about(&self) -> About {
        About {
            connection: self.id,
            request: 0,
            client: self.client,
            destination: self.destination.clone(),
            host: self.destination.name().or(self.answered.as_ref()).cloned(),
            identity: self.identity.clone(),
            method: self.via,
            opened: false,
        }
    }

    /// What is noted of what is inside, from here on.
    pub(super) fn look_inside(&mut self) -> Arc<Seen> {
        Arc::clone(self.seen.get_or_insert_default())
    }

    /// What the record says of a connection that was looked into.
    fn tell_inside(&self, seen: &Seen, record: &mut Record) {
        record.sent = Some(seen.traffic.sent());
        record.received = Some(seen.traffic.received());
        record.requests = seen.requests();
        let notes = seen.notes();
        record.app = notes.app.unwrap_or(record.app);
        if notes.opened {
            record.tls = Some(TlsSeen::Intercepted);
        }
        if let (None, Some(host)) = (&record.host, &notes.host) {
            record.host = Some(host.clone());
            record.host_from = Some(HostFrom::Http);
        }
        if let Some(route) = notes.route {
            // Of the last request; none of the connection's own decided about it.
            record.upstream = route.name(&self.course).to_owned();
            record.rule.clone_from(&notes.rule);
        }
    }

    pub(super) fn decided_by(&mut self, rule: &str) {
        self.rule = Some(rule.to_owned());
    }

    /// Leaves it to the first bytes to tell the rule, which does not change the way.
    pub(super) fn decided_later(&mut self) {
        self.late = true;
    }

    pub(super) fn sent_to(&mut self, upstream: Route) {
        self.upstream = upstream;
    }

    pub(super) fn ended(&mut self, outcome: Outcome, error: Option<String>) {
        self.outcome = outcome;
        self.error = error;
    }

    /// The program has a connection of its own, of which no byte is seen, or knows why not.
    pub(super) fn handed_over(&mut self, ended: io::Result<()>) {
        self.unseen = true;
        match ended {
            Ok(()) => self.ended(Outcome::Ok, None),
            Err(error) => self.ended(Refusal::of(&error).into(), Some(error.to_string())),
        }
    }

    /// The program's address.
    pub(super) fn client(&self) -> ClientAddr {
        self.client
    }

    /// Whether nothing is known to have gone wrong.
    pub(super) fn is_fine(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// How it ended, for whoever waits for that.
    pub(super) fn how_it_ended(&self) -> io::Result<()> {
        match (self.outcome, &self.error) {
            (Outcome::Ok, _) => Ok(()),
            (_, Some(error)) => Err(io::Error::other(error.clone())),
            (outcome, None) => Err(io::Error::other(outcome.name())),
        }
    }

    fn count(&self) {
        let counted = |bytes: u64| (!self.unseen).then_some(bytes);
        let last = self.seen.as_ref().and_then(|seen| seen.notes().route);
        let traffic = match &self.seen {
            Some(seen) => &seen.traffic,
            None => &self.traffic,
        };
        self.shared.count(&Ended {
            method: self.via,
            protocol: self.protocol,
            upstream: last.unwrap_or(self.upstream).name(&self.course),
            outcome: self.outcome,
            sent: counted(traffic.sent()),
            received: counted(traffic.received()),
        });
    }

    pub(super) fn relayed(&mut self, end: &End) {
        let (outcome, error) = match end {
            End::Closed => (Outcome::Ok, None),
            End::Reset { by } => (Outcome::Reset, Some(format!("reset by the {}", name(*by)))),
            End::Timeout(Expired::Idle) => (
                Outcome::Timeout,
                Some("nothing moved for the idle time".to_owned()),
            ),
            End::Timeout(Expired::HalfClosed) => (
                Outcome::Timeout,
                Some("half-closed, and nothing more moved".to_owned()),
            ),
            End::Failed { side, error } => {
                let late = error.kind() == io::ErrorKind::TimedOut;
                let outcome = if late {
                    Outcome::Timeout
                } else {
                    Outcome::Error
                };
                (outcome, Some(format!("the {}: {error}", name(*side))))
            }
        };
        self.ended(outcome, error);
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Upstream => "upstream",
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ended(Outcome::Error, Some("a fault in the engine".to_owned()));
        }
        self.count();
        if !self.shared.tells_connections() {
            return;
        }
        let asked = self.asked.as_ref().unwrap_or(&self.destination);
        let mut record = Record::new(self.via, self.client, asked, &self.identity);
        record.protocol = self.protocol;
        if self.made_up {
            record.host = self.destination.name().cloned();
            record.host_from = Some(HostFrom::FakeIp);
        } else if let Some(name) = self.answered.take() {
            record.host = Some(name);
            record.host_from = Some(HostFrom::Dns);
        }
        let sniffed = self.sniffer.conclude();
        if self.late {
            let facts = Facts {
                sniffed: Some(&sniffed),
                answered: record.host.as_ref(),
                ..self.facts()
            };
            if let Decision::Rule(rule) = self.course.rules.decide(facts) {
                self.rule = rule.map(|rule| rule.name.clone());
            }
        }
        record.connection = self.id;
        record.app = sniffed.app;
        if let App::Tls | App::Quic = sniffed.app {
            record.tls = Some(TlsSeen::Pass);
            record.sni = sniffed.host.clone();
            record.offered(sniffed.alpn);
        }
        if record.host.is_none() && sniffed.host.is_some() {
            record.host_from = Some(match sniffed.app {
                App::Tls => HostFrom::Sni,
                App::Quic => HostFrom::Quic,
                _ => HostFrom::Http,
            });
            record.host = sniffed.host;
        }
        record.rule = self.rule.take();
        record.upstream = self.upstream.name(&self.course).to_owned();
        record.sent = (!self.unseen).then(|| self.traffic.sent());
        record.received = (!self.unseen).then(|| self.traffic.received());
        if let Some(seen) = self.seen.take() {
            self.tell_inside(&seen, &mut record);
        }
        record.duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.outcome = self.outcome;
        record.error = self.error.take();
        record.end(OffsetDateTime::now_utc());
        self.shared.connection_ended(&record, &self.span);
    }
}
