//! A proxy that connections can be sent through, and the way to it.
//!
//! ```text
//! reach: for each endpoint that is alive, until one answers
//!          dial, or `open` through the upstream before it ─> PROXY header ─> TLS
//! ask:   the proxy for the destination; one that breaks off is followed by the next endpoint
//! open:  reach and ask
//! ```
mod ask;
mod relays;

use std::pin::Pin;
use std::sync::Arc;

use steer_core::address::Destination;
use steer_core::policy::{Resolving, UpstreamKind};
use steer_core::proxy_protocol::{Header, Version};
use steer_tls::{Connector, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::direct::{Dialled, Dialler, Terms, is_out_of_descriptors};
use super::standing::Standing;
use super::wire::Wire;
use super::{Login, socks5};
use crate::error::UpstreamError;
use crate::relay::Leg as _;

/// A proxy that connections can be sent through, its secrets read.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) kind: UpstreamKind,
    pub(crate) login: Option<Login>,
    /// The proxy that it is reached through.
    pub(crate) via: Option<Arc<Self>>,
    pub(crate) sealing: Option<Arc<Sealing>>,
    pub(crate) standing: Arc<Standing>,
}

/// The TLS that a proxy is spoken to in.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) connector: Connector,
    /// The name that each endpoint's certificate is verified for.
    pub(crate) names: Vec<ServerName<'static>>,
}

/// One connection's wish to go through a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) dialler: &'a Dialler,
    /// What proxies that speak the PROXY protocol are told; none is the engine's own connection.
    pub(crate) header: Option<&'a Header>,
    pub(crate) terms: Terms,
}

/// A connected destination behind a proxy.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) dialled: Dialled,
    /// What it said behind the proxy's answer.
    pub(crate) prefix: Vec<u8>,
}

/// A connected endpoint that was asked for nothing yet, and those that could be tried in its place.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) dialled: Dialled,
    endpoint: usize,
    left: std::vec::IntoIter<usize>,
}

/// What became of an attempt at an endpoint.
enum Failed {
    /// The endpoint is to blame.
    There(UpstreamError),
    /// Another one would fail as well.
    Here(UpstreamError),
}

impl Proxy {
    /// What the proxy is told of the client, where it is told.
    pub(crate) fn version(&self) -> Option<Version> {
        self.standing.upstream().proxy_protocol
    }

    /// It, and those that it is reached through.
    pub(crate) fn hops(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |hop| hop.via.as_deref())
    }

    /// Whether it is asked for a destination, and by name where one is known.
    pub(crate) fn takes_names(&self) -> bool {
        self.kind != UpstreamKind::Tcp && self.standing.upstream().resolve == Resolving::Upstream
    }

    /// Connects to one of its endpoints.
    pub(crate) async fn reach(&self, call: Call<'_>) -> Result<Reached, UpstreamError> {
        self.reach_one(self.standing.order().into_iter(), call)
            .await
    }

    /// Connects to one of these endpoints.
    async fn reach_one(
        &self,
        mut left: std::vec::IntoIter<usize>,
        call: Call<'_>,
    ) -> Result<Reached, UpstreamError> {
        let permit = self.standing.enter()?;
        let mut last = None;
        while let Some(endpoint) = left.next() {
            let mut terms = call.terms.share(left.len() + 1);
            if let Some(most) = self.standing.upstream().limits.connect {
                terms.deadline = terms.deadline.min(Instant::now() + most);
            }
            match self.connect(endpoint, Call { terms, ..call }).await {
                Ok(mut dialled) => {
                    dialled.claim.hold(permit);
                    return Ok(Reached {
                        dialled,
                        endpoint,
                        left,
                    });
                }
                Err(Failed::There(error)) => {
                    self.standing.failed(endpoint, &error);
                    last = Some(error);
                }
                Err(Failed::Here(error)) => return Err(error),
            }
        }
        let late = || UpstreamError::Deadline(self.standing.address(0).clone());
        Err(last.unwrap_or_else(late))
    }

    /// Connects to an endpoint, as far as it is asked for something.
    async fn connect(&self, endpoint: usize, call: Call<'_>) -> Result<Dialled, Failed> {
        let address = self.standing.address(endpoint);
        let mut dialled = match &self.via {
            None => call
                .dialler
                .dial(address, call.terms)
                .await
                .map_err(judged)?,
            Some(via) => through(via, address, call).await?,
        };
        let introduced = async {
            if let Some(version) = self.version() {
                let own = Header::local();
                let header = call.header.unwrap_or(&own).encode(version);
                let header = header.map_err(|error| Failed::Here(UpstreamError::Header(error)))?;
                let written = dialled.stream.write_all(&header).await;
                written.map_err(|error| Failed::There(UpstreamError::Broken(error)))?;
            }
            Ok(())
        };
        match timeout_at(call.terms.deadline, introduced).await {
            Ok(introduced) => introduced?,
            Err(_) => return Err(Failed::There(UpstreamError::Deadline(address.clone()))),
        }
        let Some(sealing) = &self.sealing else {
            return Ok(dialled);
        };
        let Sealing { connector, names } = &**sealing;
        let Dialled { stream, claim } = dialled;
        let patience = call
            .terms
            .deadline
            .saturating_duration_since(Instant::now());
        let sealed = Box::pin(connector.connect(stream, &names[endpoint], &[], patience)).await;
        match sealed {
            Ok(tls) => Ok(Dialled {
                stream: Wire::Sealed(Box::new(tls)),
                claim,
            }),
            Err(error) => Err(Failed::There(UpstreamError::Tls(error))),
        }
    }

    /// Connects to an endpoint and tells whether it answers as a proxy of its kind does.
    ///
    /// What that takes is the TLS of one that has it, and the greeting of SOCKS5 with the
    /// credentials. An HTTP proxy would only answer a request, for which there is none.
    pub(crate) async fn check(&self, endpoint: usize, call: Call<'_>) -> Result<(), UpstreamError> {
        let connected = self.connect(endpoint, call).await;
        let mut dialled = connected.map_err(|failed| match failed {
            Failed::There(error) | Failed::Here(error) => error,
        })?;
        if self.kind == UpstreamKind::Socks5 {
            let greeted = socks5::greeted(&mut dialled.stream, self.login.as_ref());
            match timeout_at(call.terms.deadline, greeted).await {
                Ok(greeted) => greeted?,
                Err(_) => {
                    let address = self.standing.address(endpoint);
                    return Err(UpstreamError::Deadline(address.clone()));
                }
            }
        }
        // Nothing is lost with it, and the proxy need not wait for more.
        dialled.stream.close_in_order();
        Ok(())
    }
}

/// Connects to an address through a proxy. Boxed: a chain is as long as it was written.
fn through<'a>(
    via: &'a Proxy,
    address: &'a Destination,
    call: Call<'a>,
) -> Pin<Box<dyn Future<Output = Result<Dialled, Failed>> + Send + 'a>> {
    Box::pin(async move {
        match via.open(address, call).await {
            Ok(Tunnel { dialled, prefix }) if prefix.is_empty() => Ok(dialled),
            Ok(_) => Err(Failed::There(UpstreamError::Protocol {
                protocol: "a protocol in which clients speak first",
                what: "it spoke before it was asked",
            })),
            // The proxy before it works, so what that one says is about the endpoint.
            Err(
                error @ (UpstreamError::Socks5(_)
                | UpstreamError::Status(_)
                | UpstreamError::Deadline(_)),
            ) => Err(Failed::There(error)),
            Err(error) => Err(Failed::Here(error)),
        }
    })
}

/// Who is to blame for a dial that failed.
fn judged(error: UpstreamError) -> Failed {
    match &error {
        UpstreamError::Connect { .. } if is_out_of_descriptors(&error) => Failed::Here(error),
        UpstreamError::Connect { .. }
        | UpstreamError::Resolve { .. }
        | UpstreamError::NoAddress(_)
        | UpstreamError::Deadline(_) => Failed::There(error),
        _ => Failed::Here(error),
    }
}
