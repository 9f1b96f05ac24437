use std::io;
use std::net::TcpListener;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::intake::Intake;
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};
use steer_kernel::sock_diag::SockDiag;

use super::intake::Kind;

/// Connections to the addresses of names, or to the resolver.
#[derive(Debug)]
pub(super) struct Connections {
    acceptor: Acceptor,
    kind: Kind,
    /// Where owners are asked for.
    owners: Option<SockDiag>,
    strangers: u64,
}

impl Connections {
    pub(super) fn new(intent: &Intent, kind: Kind, sockets: Vec<TcpListener>) -> io::Result<Self> {
        Ok(Self {
            acceptor: Acceptor::new(sockets)?,
            kind,
            owners: intent.identify.then(SockDiag::open).transpose()?,
            strangers: 0,
        })
    }

    fn identity(&self, accepted: &Accepted) -> Identity {
        let owner = |diag: &SockDiag| {
            diag.tcp_owner(accepted.client.0, accepted.local)
                .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
                .ok()
                .flatten()
        };
        Identity {
            uid: self.owners.as_ref().and_then(owner),
            ..Identity::default()
        }
    }
}

#[async_trait]
impl Intake for Connections {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let accepted = self.acceptor.accept().await;
            let client = accepted.client;
            if !Kind::admits(client.0) {
                self.strangers += 1;
                tracing::debug!(%client, count = self.strangers, "a stranger was refused");
                abort(accepted.stream);
                continue;
            }
            return Some(Steered {
                identity: self.identity(&accepted),
                destination: self.kind.destination(accepted.local),
                flow: Flow::Tcp(accepted.stream),
                client,
                via: Method::Dns,
                upstream: None,
                app: self.kind.app,
                inside: None,
                answer: Box::new(ResetAnswer),
            });
        }
    }
}
