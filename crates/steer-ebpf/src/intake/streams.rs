//! TCP connections, each with the token that it came to.

use std::io;
use std::net::TcpListener;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{Destination, OrigDst, Protocol};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::policy::App;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};

use super::identity::Identities;
use super::maps::Maps;
use super::places::Want;
use super::tokens::{self, Tokens};

/// Connections of the listeners of one network namespace.
#[derive(Debug)]
pub(super) struct Streams {
    acceptor: Acceptor,
    tokens: Tokens,
    identities: Identities,
    app: Option<App>,
    refused: u64,
}

impl Streams {
    /// Takes over listening sockets; call it within a runtime.
    pub(super) fn new(want: &Want, maps: &Maps, listeners: Vec<TcpListener>) -> io::Result<Self> {
        Ok(Self {
            acceptor: Acceptor::new(listeners)?,
            tokens: Tokens::open(maps)?,
            identities: want.identities.clone(),
            app: want.listener.app,
            refused: 0,
        })
    }

    /// Where a connection was going and who opened it; none where it was not steered here.
    fn origin(&mut self, accepted: &Accepted) -> io::Result<Option<(OrigDst, Identity)>> {
        let Some(key) = tokens::key(accepted.local.ip(), Protocol::Tcp) else {
            return Ok(None);
        };
        let token = self.tokens.take(key, accepted.client.0)?;
        Ok(token.map(|token| (tokens::destination(&token), self.identities.of(&token))))
    }
}

#[async_trait]
impl Intake for Streams {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let accepted = self.acceptor.accept().await;
            let origin = self.origin(&accepted);
            let Accepted { stream, client, .. } = accepted;
            let error = match origin {
                Ok(Some((to, identity))) => {
                    return Some(Steered {
                        flow: Flow::Tcp(stream),
                        client,
                        destination: Destination::Addr(to),
                        identity,
                        via: Method::Ebpf,
                        upstream: None,
                        app: self.app,
                        inside: None,
                        answer: Box::new(ResetAnswer),
                    });
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            self.refused += 1;
            tracing::debug!(
                %client,
                error = error.map(tracing::field::display),
                count = self.refused,
                "a connection was refused that was not steered here"
            );
            abort(stream);
        }
    }
}
