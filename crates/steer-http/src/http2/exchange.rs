//! One exchange: a request, what was decided about it, and its response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use super::Session;
use super::answer::{Asks, Client, Told};
use super::fault::{Cause, Fault};
use super::head::Head;
use super::note::Noted;
use super::passing::Passing;
use super::ways::{Server, Used};
use super::wire::Speech;
use crate::fields::Fields;
use crate::gateway::{Gateway, Refused, Verdict};
use crate::message::Request;

/// How an exchange left its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Whether the client reset it before it was answered.
    pub(super) abandoned: bool,
    /// Whether its server takes requests for other protocols.
    pub(super) extended: bool,
}

/// Serves a stream to its end.
pub(super) async fn run<G: Gateway>(
    session: Arc<Session<G>>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Left {
    let (parts, body) = request.into_parts();
    let mut client = Client {
        respond,
        body,
        told: Told::Nothing,
    };
    let (head, mut request) = Head::read(parts);
    let refused = head.refused(&session.limits);
    if matches!(&refused, Some((Refused { status: 431, .. }, _))) {
        // It is only to be recorded: nobody is to look through so many.
        request.fields = Fields::default();
    }
    let deciding = session.gateway.request(&mut request);
    let Ok((noting, verdict)) = client.unless_reset(deciding).await else {
        return Left {
            abandoned: true,
            extended: false,
        };
    };
    let mut exchange = Exchange {
        session: &session,
        head: &head,
        request: &request,
        client,
        noted: Noted::new(session.gateway.clone(), noting),
        extended: false,
    };
    let (done, error) = match (refused, verdict) {
        (Some((refused, why)), _) => (exchange.answer(&refused).await, Some(why)),
        (None, Verdict::Respond(refused)) => (exchange.answer(&refused).await, None),
        (None, Verdict::Reset) => {
            exchange.client.reset(Reason::CANCEL);
            (Ok(()), Some("it was reset as was decided about it"))
        }
        (None, Verdict::Forward(way)) => (exchange.forward(&way).await, None),
    };
    exchange.end(done, error)
}

/// An exchange about which something has been decided.
struct Exchange<'a, G: Gateway> {
    session: &'a Session<G>,
    head: &'a Head,
    request: &'a Request,
    client: Client,
    noted: Noted<G>,
    extended: bool,
}

/// How often a request is sent that no server has looked at.
const TRIES: usize = 3;

impl<G: Gateway> Exchange<'_, G> {
    /// Sends the request to the server of a way, and the response back.
    async fn forward(&mut self, way: &G::Way) -> Result<(), Fault> {
        let Session {
            gateway,
            limits,
            ways,
        } = self.session;
        let mut tries = 0;
        loop {
            tries += 1;
            let connecting = ways.server(way, gateway, limits);
            let (server, used) = match self.client.unless_reset(connecting).await? {
                Ok(server) => server,
                Err(refused) => return self.answer(&refused).await,
            };
            let upgrades = self.head.upgrades();
            if upgrades && server.speech() == Speech::Http2 && !server.extended() {
                let text = "the server takes no requests for other protocols";
                return self.answer(&Refused::plain(501, text)).await;
            }
            let request = self.head.write(self.request);
            let request = match request {
                Ok(request) => request,
                Err(fault) => return self.failed(fault, None).await,
            };
            let moved = AtomicU64::new(0);
            let end = self.client.body.is_end_stream();
            let sending = self.client.unless_reset(server.send(request, end)).await?;
            let fault = match sending {
                Err(fault @ Fault::Server(_)) if tries < TRIES => {
                    tracing::debug!(%fault, "another connection is made for a request");
                    continue;
                }
                Err(fault) => fault,
                Ok((response, upload)) => {
                    let passing = Passing {
                        gateway: &**gateway,
                        upgrades,
                        idle: limits.body_idle,
                        moved: &moved,
                    };
                    let (client, noted) = (&mut self.client, &mut self.noted);
                    let passed = passing.pass(client, noted, response, upload).await;
                    self.extended |= server.extended();
                    match passed {
                        Ok(()) => return Ok(()),
                        Err(fault) => fault,
                    }
                }
            };
            let nothing = moved.load(Ordering::Relaxed) == 0;
            let again = fault.untouched() || (end && used == Used::Before && self.stale(&fault));
            if !(nothing && again && tries < TRIES) {
                return self.failed(fault, Some(&server)).await;
            }
            tracing::debug!(%fault, "a request that no server looked at is sent again");
        }
    }

    /// Whether a server may have closed the connection just before the request came, which then may
    /// be sent again without harm (RFC 9110, 9.2.2).
    fn stale(&self, fault: &Fault) -> bool {
        const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        let repeatable = IDEMPOTENT.contains(&self.request.method.as_str());
        repeatable && matches!(fault, Fault::Server(Cause::Broken(_)))
    }

    /// Tells the client that the exchange cannot go on, where it has not been answered.
    async fn failed(&mut self, fault: Fault, server: Option<&Server>) -> Result<(), Fault> {
        let silent = self.client.told == Told::Nothing;
        if !silent || fault.told() || matches!(fault, Fault::Client(_)) {
            return Err(fault);
        }
        let spoke = server.is_none_or(|server| server.speech() != Speech::Other);
        let refused = match &fault {
            Fault::Idle => Refused::plain(504, "the server did not answer in time"),
            Fault::Change(what) | Fault::Response(what) => Refused::plain(502, what),
            _ if !spoke => Refused::plain(502, "the server does not speak HTTP/2"),
            _ => Refused::plain(502, "the connection to the server broke"),
        };
        self.answer(&refused).await?;
        Err(fault)
    }

    /// Answers in the place of a server.
    async fn answer(&mut self, refused: &Refused) -> Result<(), Fault> {
        let asks = match self.request.method.as_str() {
            "HEAD" => Asks::Head,
            _ => Asks::All,
        };
        let (_, end) = self.noted.parts();
        let limits = &self.session.limits;
        self.client.answer(refused, asks, limits, end).await
    }

    /// Leaves, with the client's stream reset where it has not been answered to the end.
    fn end(mut self, done: Result<(), Fault>, error: Option<&str>) -> Left {
        let mut left = Left {
            abandoned: false,
            extended: self.extended,
        };
        let error = match (done, error) {
            (Ok(()), None) => None,
            (Ok(()), Some(error)) => Some(error.to_owned()),
            (Err(fault), _) => {
                let of_client = matches!(fault, Fault::Client(_));
                if self.client.told != Told::All {
                    left.abandoned = of_client;
                    if !of_client {
                        self.client.reset(fault.to_client());
                    }
                }
                // Whoever has its answer may leave its request unfinished.
                let satisfied = of_client && self.client.told == Told::All;
                (!satisfied).then(|| fault.to_string())
            }
        };
        self.noted.end.error = error;
        left
    }
}
