use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{ClientAddr, Destination, OrigDst};
use steer_core::intake::{Bound, Intake, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::netns::Inside;
use steer_core::policy::App;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};

use super::datagrams::{Own, Transparent};
use super::origin::{self, Origin};
use crate::datagrams::DatagramIntake;
use crate::owner::Owners;
use crate::sockets;

/// What a listener of a plan brings.
pub(super) fn of(intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
    sockets::mark_all(&bound.sockets, intent.bypass)?;
    let owners = Owners::of(intent, &bound.netns)?;
    let app = bound.listener.app;
    let addresses = bound.sockets.addresses()?;
    match bound.sockets {
        Sockets::Tcp(listeners) => Ok(Box::new(Connections {
            acceptor: Acceptor::new(listeners)?,
            listeners: addresses,
            owners,
            app,
            refused: 0,
        })),
        Sockets::Udp(sockets) => {
            let inside = Inside::of(&bound.netns)?;
            let own = match app {
                Some(App::Dns) => Own::None,
                _ => Own::Sockets,
            };
            let ends = Transparent::new(addresses, inside, intent.bypass, own)?;
            let intake = DatagramIntake::new(sockets, ends, Method::Tproxy, app)?;
            Ok(Box::new(intake))
        }
    }
}

/// Connections that were handed to a transparent listener.
#[derive(Debug)]
struct Connections {
    acceptor: Acceptor,
    listeners: Vec<SocketAddr>,
    owners: Owners,
    app: Option<App>,
    refused: u64,
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
            match origin::of_any(local, &self.listeners) {
                Origin::Steered(to) => {
                    return Some(Steered {
                        identity: self.identity(client, to),
                        flow: Flow::Tcp(stream),
                        client,
                        destination: Destination::Addr(to),
                        via: Method::Tproxy,
                        upstream: None,
                        app: self.app,
                        answer: Box::new(ResetAnswer),
                    });
                }
                // The gate in the rules refuses these; what is steered and addressed to the
                // listener passes it.
                Origin::Direct => {
                    self.refused += 1;
                    tracing::debug!(%client, count = self.refused, "a direct connection was refused");
                    abort(stream);
                }
            }
        }
    }
}

impl Connections {
    fn identity(&self, client: ClientAddr, to: OrigDst) -> Identity {
        self.owners.of_connection(client, to)
    }
}
