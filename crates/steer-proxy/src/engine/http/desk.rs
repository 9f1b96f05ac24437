//! Decides about the requests of one connection.
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use steer_core::address::{Destination, HostName};
use steer_core::policy::{Edits, Reply, Rule};
use steer_http::{Connected, End, Fields, Gateway, Refused, Request, Response, Verdict};
use steer_tls::ServerName;
use tokio::time::Instant;

use super::super::Shared;
use super::super::connection::told;
use super::super::course::Course;
use super::super::edits;
use super::super::entry::{Entry, Route};
use super::super::opening::{Failure, choice};
use super::super::rules::{Facts, RequestDecision, RequestFacts};
use super::asked::{Known, host_of};
use super::dial::status;
use super::ended::Exchange;
use super::guard::{self, Aim};
use super::seen::Seen;
use super::session::Spoken;
use super::way::{Claimed, Place, Way};
use crate::handler::{About, Act, Handler};
use crate::record::Outcome;
use crate::upstream::direct::Dialler;

/// Decides about the requests of one connection, and dials for them.
#[derive(Debug)]
pub(in crate::engine) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) course: Arc<Course>,
    pub(super) dialler: Arc<Dialler>,
    pub(super) seen: Arc<Seen>,
    pub(super) about: About,
    pub(super) known: Known,
    pub(super) spoken: Spoken,
    /// Those who want to see requests.
    pub(super) handlers: Vec<Arc<dyn Handler>>,
    /// The route that the listener prescribes, whatever the rules say.
    pub(super) prescribed: Option<Route>,
    /// The name of the server whose TLS was opened.
    pub(super) opened: Option<ServerName<'static>>,
    /// A connection that was made before the first request, for the way that it is of.
    pub(super) spare: Mutex<Option<(Way, Connected)>>,
}

/// What was decided about a request.
struct Decided<'a> {
    rule: Option<&'a Rule>,
    route: Route,
    only: Option<Vec<SocketAddr>>,
}

impl Gateway for Desk {
    type Way = Arc<Way>;
    type Exchange = Exchange;

    async fn request(&self, request: &mut Request) -> (Exchange, Verdict<Arc<Way>>) {
        let mut exchange = Exchange::new(self, request);
        let verdict = match self.judge(&mut exchange, request).await {
            Ok(verdict) => verdict,
            Err(failure) => {
                let (refusal, why) = told(&failure);
                exchange.fails(refusal.into(), &why);
                Verdict::Respond(Refused::plain(status(refusal), &why))
            }
        };
        (exchange, verdict)
    }

    async fn connect(&self, way: &Arc<Way>) -> Result<Connected, Refused> {
        let spare = {
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.take_if(|(of, _)| of == &**way)
        };
        match spare {
            Some((_, connected)) => Ok(connected),
            // Boxed: it is needed for moments, and a session lives long.
            None => Box::pin(self.open(way)).await,
        }
    }

    async fn response(&self, exchange: &mut Exchange, response: &mut Response) {
        if response.status == 101 || exchange.is_connect && (200..300).contains(&response.status) {
            self.seen.has_upgraded();
        }
        if let Some(rule) = exchange.rule(&self.course)
            && !rule.http.response.is_empty()
            && let Err(failure) = self.edit(&rule.http.response, &mut response.fields).await
        {
            // What is missing is no secret of the server's: the response passes, and the record
            // says what it lacks.
            exchange.fails(Outcome::Error, &told(&failure).1);
        }
        for handler in self.handlers.iter().rev() {
            handler.response(&exchange.about, response).await;
        }
    }

    fn ended(&self, exchange: Exchange, end: &End) {
        exchange.end(end);
    }

    async fn drain(&self) {
        let mut stop = self.shared.stop.subscribe();
        // Whoever could say otherwise is gone with the engine.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

impl Desk {
    /// For a connection whose requests these want to see, too.
    pub(in crate::engine) fn new(
        entry: &mut Entry,
        handlers: Vec<Arc<dyn Handler>>,
        spoken: Spoken,
    ) -> Self {
        Self {
            shared: Arc::clone(&entry.shared),
            course: Arc::clone(&entry.course),
            dialler: Arc::clone(&entry.dialler),
            seen: entry.look_inside(),
            about: entry.about(),
            known: Known::of(entry),
            spoken,
            handlers,
            prescribed: None,
            opened: None,
            spare: Mutex::new(None),
        }
    }

    /// The same whose route the listener prescribes.
    pub(in crate::engine) fn prescribed(self, route: Option<Route>) -> Self {
        Self {
            prescribed: route,
            ..self
        }
    }

    /// The same inside of TLS that is opened, for a server that has to prove this.
    pub(in crate::engine) fn opened(
        self,
        proof: ServerName<'static>,
        host: Option<HostName>,
    ) -> Self {
        let Self { about, .. } = &self;
        Self {
            about: About {
                opened: true,
                host: host.or_else(|| about.host.clone()),
                ..about.clone()
            },
            opened: Some(proof),
            ..self
        }
    }

    /// The same that speaks what was agreed on.
    pub(in crate::engine) fn speaks(self, spoken: Spoken) -> Self {
        Self { spoken, ..self }
    }

    /// The same with a connection that is there already.
    pub(in crate::engine) fn spare(self, way: Way, connected: Connected) -> Self {
        Self {
            spare: Mutex::new(Some((way, connected))),
            ..self
        }
    }

    /// The way of the server that a client of TLS is to see: where it wants to go, but where the
    /// engine finds the name if requests for it get secrets.
    pub(in crate::engine) fn first(&self, decided: choice::Decided, host: Option<HostName>) -> Way {
        let (route, only) = decided;
        let own = self.own(route, only, host.clone());
        match host {
            Some(host) if self.course.rules.may_hold_secret(Some(&host)) => {
                let port = self.known.destination.port();
                let claimed = Claimed::ByProgram(Vec::new());
                let place = Place::Found(Destination::Name { host, port }, claimed);
                Way { place, ..own }
            }
            _ => own,
        }
    }

    /// Puts values into fields and takes others away.
    async fn edit(&self, edits: &Edits, fields: &mut Fields) -> Result<(), Failure> {
        if edits.is_empty() {
            return Ok(());
        }
        let found = edits::find(edits, &self.course.values).await;
        edits::apply(edits, found.map_err(Failure::Value)?, fields);
        Ok(())
    }

    /// Asks the handlers and the rules about a request, and changes it as they say.
    async fn judge(
        &self,
        exchange: &mut Exchange,
        request: &mut Request,
    ) -> Result<Verdict<Arc<Way>>, Failure> {
        for handler in &self.handlers {
            match handler.request(&exchange.about, request).await {
                Act::Continue => {}
                Act::Respond(response) => return Ok(Verdict::Respond(response)),
                Act::Reject => return Err(Failure::Denied),
            }
        }
        stay_http1(&mut request.fields);
        let host = request.authority.as_deref().and_then(host_of);
        exchange.is_connect = request.method == "CONNECT";
        self.seen.names(host.as_ref());
        let Decided { rule, route, only } = self.decide(exchange, request, host.as_ref()).await?;
        exchange.sent_to(route, &self.course);
        let Some(rule) = rule else {
            let way = self.own(route, only, host);
            return Ok(exchange.goes(way));
        };
        if let Some(reply) = &rule.http.respond {
            exchange.sent_to(Route::None, &self.course);
            return Ok(Verdict::Respond(response_of(reply)));
        }
        guard::keep(&rule.http, &request.method).map_err(Failure::Guarded)?;
        let port = self.known.destination.port();
        let aim = guard::aim(&rule.http, host.as_ref(), port, self.opened.is_some());
        let way = match aim.map_err(Failure::Guarded)? {
            Aim::Own => self.own(route, only, host),
            Aim::Found(found) => {
                let claimed = match rule.http.to {
                    None => Claimed::ByProgram(rule.condition.cidr.clone()),
                    Some(_) => {
                        request.authority = Some(found.authority());
                        Claimed::ByRule
                    }
                };
                Way {
                    route,
                    place: Place::Found(found.destination(), claimed),
                    tls: found.proof,
                }
            }
        };
        if let Some(path) = &rule.http.path {
            edits::path(path, request).map_err(Failure::Path)?;
        }
        // Last, so that nobody but the server is shown what is put in.
        self.edit(&rule.http.request, &mut request.fields).await?;
        Ok(exchange.goes(way))
    }

    /// Asks the rules, and looks for what they want to know.
    async fn decide(
        &self,
        exchange: &mut Exchange,
        request: &Request,
        host: Option<&HostName>,
    ) -> Result<Decided<'_>, Failure> {
        if let Some(route) = self.prescribed {
            return Ok(Decided {
                rule: None,
                route,
                only: None,
            });
        }
        let Self { course, known, .. } = self;
        let asked = RequestFacts::of(request, host);
        let mut found: Option<Vec<SocketAddr>> = None;
        let mut ips: Option<Vec<IpAddr>> = None;
        loop {
            let facts = Facts {
                addresses: ips.as_deref(),
                ..known.facts()
            };
            match course.rules.decide_request(facts, &asked) {
                RequestDecision::Rule(rule) => {
                    if let Some(rule) = rule {
                        exchange.decided_by(course, rule);
                    }
                    let route = choice::route(rule, &course.proxies)?;
                    let pins = || course.rules.pins_request(rule, facts, &asked);
                    let only = choice::bounds(rule, &known.destination, pins, found);
                    return Ok(Decided { rule, route, only });
                }
                RequestDecision::Unknown(rule) => {
                    exchange.decided_by(course, rule);
                    return Err(Failure::Stranger);
                }
                RequestDecision::Resolve => {
                    let deadline = Instant::now() + self.shared.limits.connect;
                    let addresses =
                        choice::lookup(&self.shared, &known.destination, deadline).await?;
                    ips = Some(addresses.iter().map(SocketAddr::ip).collect());
                    found = Some(addresses);
                }
            }
        }
    }

    /// The way to where the program wanted to go; a proxy is asked for the name, where one is known.
    fn own(&self, route: Route, only: Option<Vec<SocketAddr>>, host: Option<HostName>) -> Way {
        let Known {
            destination,
            answered,
            ..
        } = &self.known;
        let named = match (destination, route) {
            (Destination::Addr(to), Route::Proxy(_)) => {
                let host = answered.clone().or(host);
                host.map(|host| Destination::Name {
                    host,
                    port: to.addr().port(),
                })
            }
            _ => None,
        };
        Way {
            route,
            place: Place::Own(named.unwrap_or_else(|| destination.clone()), only),
            tls: self.opened.clone(),
        }
    }
}

/// Takes the offer away to go on in HTTP/2 in plain text, where the rules would see no further
/// request; a server is free to pass over it (RFC 9110, section 7.8), and clients have given it up (RFC
/// 9113, section 3.1).
fn stay_http1(fields: &mut Fields) {
    let offers = |value: &[u8]| {
        let mut offers = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        offers.any(|offer| offer.eq_ignore_ascii_case(b"h2c"))
    };
    if fields.values("upgrade").any(offers) {
        fields.remove("upgrade");
        fields.remove("http2-settings");
    }
}

fn response_of(reply: &Reply) -> Refused {
    let Reply {
        status,
        headers,
        body,
    } = reply;
    Refused {
        status: *status,
        fields: headers.clone(),
        body: body.clone().into_bytes(),
    }
}
