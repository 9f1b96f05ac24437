use std::io;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{ClientAddr, Destination, OrigDst};
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::netns::Inside;
use steer_core::policy::App;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};

use super::datagrams::Redirected;
use super::origin::{self, Origin};
use crate::datagrams::DatagramIntake;
use crate::owner::Owners;
use crate::sockets;

/// What a listener of a plan brings.
pub(super) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    sockets::mark_all(&bound.sockets, intent.bypass)?;
    let owners = Owners::of(intent, &bound.netns)?;
    let app = bound.listener.app;
    match bound.sockets {
        Sockets::Tcp(listeners) => Ok(Box::new(Connections {
            acceptor: Acceptor::new(listeners)?,
            owners,
            app,
            refused: 0,
        })),
        Sockets::Udp(sockets) => {
            let inside = Inside::of(&bound.netns)?;
            let ends = Redirected::new(&sockets, &inside, intent.bypass)?;
            let intake = DatagramIntake::new(sockets, ends, Method::Redirect, app)?;
            Ok(Box::new(intake))
        }
    }
}

/// Redirected connections with the destination that each one asked for.
#[derive(Debug)]
struct Connections {
    acceptor: Acceptor,
    owners: Owners,
    app: Option<App>,
    refused: u64,
}

impl Connections {
    fn identity(&self, client: ClientAddr, to: OrigDst) -> Identity {
        self.owners.of_connection(client, to)
    }
}

#[async_trait]
impl Intake for Connections {
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
                        app: self.app,
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
