use std::io;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{ClientAddr, Destination, OrigDst};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};
use steer_kernel::sock_diag::SockDiag;

use super::origin::{self, Origin};

/// Redirected connections with the destination that each one asked for.
#[derive(Debug)]
pub(super) struct RedirectIntake {
    acceptor: Acceptor,
    owners: Option<SockDiag>,
    refused: u64,
}

impl RedirectIntake {
    pub(super) fn new(intent: &Intent, bound: Bound) -> io::Result<Self> {
        let owners = intent.identify.then(SockDiag::open).transpose()?;
        Ok(Self {
            acceptor: Acceptor::new(bound.sockets)?,
            owners,
            refused: 0,
        })
    }

    fn identity(&self, client: ClientAddr, to: OrigDst) -> Identity {
        let uid = self.owners.as_ref().and_then(|diag| {
            diag.tcp_owner(client.0, to.addr())
                .inspect_err(|error| tracing::debug!(%error, "the owner could not be asked"))
                .ok()
                .flatten()
        });
        Identity {
            uid,
            ..Identity::default()
        }
    }
}

#[async_trait]
impl Intake for RedirectIntake {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let Accepted {
                stream,
                client,
                local,
            } = self.acceptor.accept().await;
            match origin::of(&stream, local) {
                Ok(Origin::Steered(to)) => {
                    return Some(Steered {
                        identity: self.identity(client, to),
                        flow: Flow::Tcp(stream),
                        client,
                        destination: Destination::Addr(to),
                        via: Method::Redirect,
                        upstream: None,
                        answer: Box::new(ResetAnswer),
                    });
                }
                // The gate in the rules refuses these; without a gate (its rules gone, say) they
                // are refused here.
                Ok(Origin::Direct) => {
                    self.refused += 1;
                    tracing::debug!(%client, count = self.refused, "a direct connection was refused");
                    abort(stream);
                }
                Err(error) => {
                    self.refused += 1;
                    tracing::debug!(%client, %error, "no original destination: refused");
                    abort(stream);
                }
            }
        }
    }
}
