//! Connections for requests.
use std::net::SocketAddr;
use std::sync::Arc;

use steer_core::address::{Cidr, Destination, HostName};
use steer_core::policy::Action;
use steer_core::proxy_protocol::Header;
use steer_core::steered::Refusal;
use steer_http::{Connected, Refused};
use steer_tls::{Prefixed, ServerName};
use tokio::time::Instant;

use super::super::connection::told;
use super::super::course::Proxy;
use super::super::entry::Route;
use super::super::opening::proxied::{self, Whom};
use super::super::opening::{Failure, Opened};
use super::super::rules::{Decision, Facts};
use super::desk::Desk;
use super::leg::Outer;
use super::session::Spoken;
use super::way::{Claimed, Place, Way};
use crate::upstream::direct::Dialled;

/// A server's stream, whatever of it was read already given first.
pub(in crate::engine) type Server = Prefixed<Outer>;

/// A server's stream inside of TLS.
type Secured = steer_tls::client::TlsStream<Server>;

impl Desk {
    /// Opens a way, with TLS where it says so.
    pub(super) async fn open(&self, way: &Way) -> Result<Connected, Refused> {
        let deadline = Instant::now() + self.shared.limits.connect;
        let opened = match self.reach(way, deadline).await {
            Ok(server) => self.secured(way, server, deadline).await,
            Err(failure) => Err(failure),
        };
        opened
            .inspect(|_| self.seen.opened(way))
            .map_err(|failure| self.refuse(way, &failure))
    }

    /// Connects to where a way leads, before any TLS.
    pub(in crate::engine) async fn reach(
        &self,
        way: &Way,
        deadline: Instant,
    ) -> Result<Server, Failure> {
        let Self {
            course,
            dialler,
            seen,
            ..
        } = self;
        let terms = dialler.terms(self.about.client.0.ip(), deadline);
        let only = match &way.place {
            Place::Own(_, only) => only.clone(),
            Place::Found(_, Claimed::ByRule) => None,
            Place::Found(to, Claimed::ByProgram(within)) => {
                self.found(way, to, within, deadline).await?
            }
        };
        let to = way.place.destination();
        let opened = match (way.route, only) {
            (Route::None, _) => Err(Failure::Denied),
            (Route::Direct, None) => dialler
                .dial(to, terms)
                .await
                .map(plain)
                .map_err(Failure::from),
            (Route::Direct, Some(only)) => {
                let dialled = dialler.dial_any(&only, to, terms).await;
                dialled.map(plain).map_err(Failure::from)
            }
            (Route::Proxy(index), None) => {
                let proxy = &course.proxies[index];
                let header = self.introduction(proxy, to);
                proxied::through_for(to, dialler, proxy, header.as_ref(), terms).await
            }
            (Route::Proxy(index), Some(only)) => {
                let proxy = &course.proxies[index];
                let header = self.introduction(proxy, to);
                proxied::through_to(&only, dialler, proxy, header.as_ref(), terms).await
            }
        };
        super::super::opening::starved(&self.shared, opened.as_ref().err());
        let Opened { dialled, prefix } = opened?;
        Ok(Prefixed::new(prefix, Outer::new(dialled, Arc::clone(seen))))
    }

    /// The addresses of a name that a request may go to; none where a proxy looks for them and may
    /// choose any.
    async fn found(
        &self,
        way: &Way,
        to: &Destination,
        within: &[Cidr],
        deadline: Instant,
    ) -> Result<Option<Vec<SocketAddr>>, Failure> {
        let Destination::Name { host, port } = to else {
            return Ok(None);
        };
        if within.is_empty() && way.route != Route::Direct {
            return Ok(None);
        }
        let mut addresses = self.dialler.resolve(host, *port, deadline).await?;
        addresses.retain(|address| {
            let inside = within.is_empty() || within.iter().any(|net| net.contains(address.ip()));
            inside && !self.is_rejected(host, *address)
        });
        match addresses.is_empty() {
            true => Err(Failure::Denied),
            false => Ok(Some(addresses)),
        }
    }
}

impl Desk {
    /// What a proxy is told of the connection, where it wants to be.
    fn introduction(&self, proxy: &Proxy, to: &Destination) -> Option<Header> {
        proxy.hops().find_map(Proxy::version)?;
        let whom = Whom {
            client: self.about.client.0,
            destination: &self.known.destination,
            name: to.name(),
            identity: &self.about.identity,
            app: self.spoken.app(),
            id: self.about.connection.0,
        };
        whom.header(proxy)
    }

    /// Begins TLS with a server where a way says so.
    async fn secured(
        &self,
        way: &Way,
        server: Server,
        deadline: Instant,
    ) -> Result<Connected, Failure> {
        let stream: Box<dyn steer_http::gateway::Stream> = match &way.tls {
            None => Box::new(server),
            Some(name) => Box::new(
                self.verified(server, name, &self.spoken.alpn(), deadline)
                    .await?,
            ),
        };
        Ok(Connected {
            stream,
            absolute: false,
        })
    }

    /// Begins TLS with a server, which has to prove its name and speak what is offered.
    async fn verified(
        &self,
        server: Server,
        name: &ServerName<'static>,
        alpn: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Secured, Failure> {
        let stream = self.shaken(server, name, alpn, deadline).await?;
        let chosen = stream.get_ref().1.alpn_protocol();
        // One that knows nothing of ALPN speaks HTTP/1.
        let fits = match chosen {
            Some(chosen) => alpn.iter().any(|offered| offered == chosen),
            None => self.spoken == Spoken::Http1,
        };
        match fits {
            true => Ok(stream),
            false => Err(Failure::OtherVersion),
        }
    }

    /// Begins TLS with a server, which has to prove its name.
    pub(in crate::engine) async fn shaken(
        &self,
        server: Server,
        name: &ServerName<'static>,
        alpn: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Secured, Failure> {
        let connector = self.course.means.connector.as_ref();
        let connector = connector.expect("a rule speaks TLS, so that there are roots");
        let patience = deadline.saturating_duration_since(Instant::now());
        let shaken = connector.connect(server, name, alpn, patience).await;
        shaken.map_err(Failure::Tls)
    }

    /// Whether the rules would reject a connection to this address of a name.
    fn is_rejected(&self, host: &HostName, address: SocketAddr) -> bool {
        let destination = Destination::addr(address);
        let facts = Facts {
            destination: &destination,
            answered: Some(host),
            ..self.known.facts()
        };
        let decided = self.course.rules.decide(facts);
        matches!(decided, Decision::Rule(Some(rule)) if rule.action == Action::Reject)
    }

    /// The response that tells a program why a way could not be opened.
    fn refuse(&self, way: &Way, failure: &Failure) -> Refused {
        let (refusal, why) = told(failure);
        self.seen.failed(way, refusal.into(), why.clone());
        Refused::plain(status(refusal), &why)
    }
}

/// How HTTP says that a server was not reached (RFC 9110, section 15.6).
pub(super) fn status(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Denied => 403,
        Refusal::TimedOut => 504,
        Refusal::Busy => 503,
        _ => 502,
    }
}

fn plain(dialled: Dialled) -> Opened {
    Opened {
        dialled,
        prefix: Vec::new(),
    }
}
