//! Connections whose TLS is opened.
//!
//! ```text
//! ClientHello ─> dial, TLS with the server, verified ─> leaf of its name, its ALPN ─> client
//!                                                  └─> requests, or plain bytes
//! ```
//!
//! The client is shown nothing before the server has proven its name: a server that cannot is told
//! to the client as an alert of the same meaning.
use std::sync::Arc;
use std::time::Instant as Clock;

use steer_core::address::{Destination, HostName};
use steer_core::policy::{App, Failing};
use steer_core::steered::Stream;
use steer_http::Connected;
use steer_tls::{AcceptError, Alert, Client, Opening as Hello, Prefixed, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::connection::{chain, told};
use super::entry::Entry;
use super::http::{Desk, Spoken, name_of, serve};
use super::inspect::counted;
use super::limits::Limits;
use super::opening::choice::Decided;
use super::opening::{Failure, Opening};
use crate::record::Outcome;
use crate::relay::{Relay, Traffic};
use crate::sniff::{Sniffer, WINDOW};

/// Opens the TLS of a connection and serves what is inside, to its end.
pub(super) async fn run(entry: &mut Entry, opening: Opening, decided: Decided) {
    let Opening {
        flow,
        prefix,
        watchers,
        ..
    } = opening;
    let client = counted(entry, flow, prefix.len());
    let limits = entry.shared.limits;
    let hello = match Hello::read(Prefixed::new(prefix, client), limits.connect).await {
        Ok(hello) => hello,
        Err(error) => return failed(entry, &error),
    };
    let Some((name, host)) = names(entry, hello.server_name()) else {
        hello.refuse(Alert::UnrecognizedName).await;
        let why = "the client asks for a name that is none";
        return entry.ended(Outcome::Error, Some(why.to_owned()));
    };
    let course = Arc::clone(&entry.course);
    let authority = course.means.authority.as_ref();
    let authority = authority.expect("a rule opens TLS, so that there is an authority");
    let mut desk = Desk::new(entry, watchers, Spoken::Http1).opened(name.clone(), host.clone());
    let way = desk.first(decided, host);
    let offers: Vec<Vec<u8>> = hello
        .alpn()
        .iter()
        .filter(|offer| Spoken::chosen(offer).is_some())
        .cloned()
        .collect();
    let deadline = Instant::now() + limits.connect;
    let server = async {
        let server = desk.reach(&way, deadline).await?;
        desk.shaken(server, &name, &offers, deadline).await
    };
    let server = match server.await {
        Ok(server) => server,
        Err(failure) => {
            let (refusal, why) = told(&failure);
            hello.refuse(alert(&failure)).await;
            return entry.ended(refusal.into(), Some(why));
        }
    };
    let leaf = match authority.leaf(&name) {
        Ok(leaf) => leaf,
        Err(error) => {
            hello.refuse(Alert::InternalError).await;
            return entry.ended(Outcome::Error, Some(chain(&error)));
        }
    };
    let chosen = server.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut client = match hello.accept(leaf, chosen.as_deref(), limits.connect).await {
        Ok(client) => client,
        Err(error) => return failed(entry, &error),
    };
    entry.look_inside().notes().opened = true;
    let mut server = server;
    let mut first = First::default();
    let spoken = match chosen {
        Some(chosen) => Spoken::chosen(&chosen),
        None => sniffed(&mut client, &mut server, &mut first, limits).await,
    };
    let First { said, greeting } = first;
    let Some(spoken) = spoken else {
        return relay(entry, client, server, said, greeting).await;
    };
    let connected = Connected {
        stream: Box::new(server),
        absolute: false,
    };
    desk = desk.speaks(spoken).spare(way, connected);
    let (outcome, error) = serve(client, said, desk).await;
    entry.ended(outcome, error);
}

/// What the server has to prove, and its name, if that is one: as the client says, else as is known
/// of where it wants to go.
fn names(entry: &Entry, said: Option<&str>) -> Option<(ServerName<'static>, Option<HostName>)> {
    if let Some(said) = said {
        let host = HostName::new(said).ok()?;
        return Some((name_of(&host)?, Some(host)));
    }
    let facts = entry.facts();
    match (
        facts.destination.name().or(facts.answered),
        facts.destination,
    ) {
        (Some(host), _) => Some((name_of(host)?, Some(host.clone()))),
        (None, Destination::Addr(to)) => Some((ServerName::from(to.addr().ip()), None)),
        (None, Destination::Name { .. }) => None,
    }
}

/// What both sides said before it was clear what is spoken.
#[derive(Default)]
struct First {
    said: Vec<u8>,
    greeting: Vec<u8>,
}

/// What the client says first, where no handshake told: HTTP/1, or something else. A server that
/// speaks first is heard when the client had its time; who has begun to speak goes on.
async fn sniffed<C, S>(
    client: &mut C,
    server: &mut S,
    first: &mut First,
    limits: Limits,
) -> Option<Spoken>
where
    C: AsyncRead + Unpin,
    S: AsyncRead + Unpin,
{
    let First { said, greeting } = first;
    let deadline = Instant::now() + limits.sniff;
    let patience = deadline + limits.connect;
    let mut sniffer = Sniffer::default();
    while !sniffer.verdict().is_decided() && said.len() < WINDOW {
        let known = said.len();
        said.reserve(FIRST_READ);
        let until = if sniffer.has_begun() {
            patience
        } else {
            deadline
        };
        let read = match timeout_at(until, client.read_buf(said)).await {
            Ok(read) => read,
            Err(_) if known > 0 => break,
            // Silent so far: who speaks first tells.
            Err(_) => tokio::select! {
                biased;
                read = client.read_buf(said) => read,
                _ = server.read_buf(greeting) => break,
            },
        };
        match read {
            Ok(read) if read > 0 => sniffer.push(&said[known..]),
            _ => break,
        };
    }
    // HTTP/2 is agreed on in the handshake.
    let app = sniffer.conclude().app;
    (app == App::Http1).then_some(Spoken::Http1)
}

/// Moves plain bytes between the two sessions of TLS.
async fn relay<C, S>(entry: &mut Entry, client: C, server: S, said: Vec<u8>, greeting: Vec<u8>)
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (client, server): (Box<dyn Stream>, Box<dyn Stream>) = (Box::new(client), Box::new(server));
    // What the program sends and gets is counted as it is, encrypted.
    let uncounted = Traffic::default();
    let relay = Relay::new(client, server, &uncounted).limits(entry.shared.limits.relay);
    let end = relay.client_prefix(said).upstream_prefix(greeting).await;
    entry.relayed(&end);
}

/// Notes a client with which TLS failed.
fn failed(entry: &mut Entry, error: &AcceptError) {
    if error.is_distrust() {
        let name = claimed(entry);
        entry.shared.distrust.note(who(entry), &name, Clock::now());
    }
    let outcome = match error {
        AcceptError::Slow => Outcome::Timeout,
        AcceptError::Truncated | AcceptError::Io { .. } => Outcome::Reset,
        _ => Outcome::Error,
    };
    entry.ended(outcome, Some(chain(error)));
}

/// What tells a client whose server cannot be reached or believed.
fn alert(failure: &Failure) -> Alert {
    match failure {
        Failure::Tls(error) => error.alert(),
        Failure::Denied | Failure::Guarded(_) | Failure::Stranger => Alert::AccessDenied,
        _ => Alert::InternalError,
    }
}

impl Shared {
    /// Whether the client of a connection has refused our certificate for its name, and is let pass.
    pub(super) fn distrusts(&self, entry: &Entry) -> bool {
        entry.course.means.failing == Failing::Pass
            && self
                .distrust
                .holds(&who(entry), &claimed(entry), Clock::now())
    }
}

/// The name that a client asks for; its destination where it says none.
fn claimed(entry: &Entry) -> String {
    match entry.sniffer.conclude().host {
        Some(host) => host.to_string(),
        None => entry.destination.to_string(),
    }
}

/// Whose connection it is, as well as that is known.
fn who(entry: &Entry) -> Client {
    let identity = &entry.identity;
    match (&identity.exe, identity.uid) {
        (Some(exe), _) => Client::Program(exe.clone()),
        (None, Some(uid)) => Client::User(uid),
        (None, None) => Client::Address(entry.client().0.ip().to_canonical()),
    }
}

/// Room for a first read.
const FIRST_READ: usize = 2048;
