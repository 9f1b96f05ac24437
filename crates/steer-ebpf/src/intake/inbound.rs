//! TCP connections of other machines, which the lookup of sockets gives to the listener.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use aya::maps::SockMap;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{Destination, canonical};
use steer_core::intake::{Intake, Sockets};
use steer_core::method::Method;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};

use super::maps::Maps;

/// Connections that keep both of their addresses.
#[derive(Debug)]
pub(super) struct Inbound {
    acceptor: Acceptor,
    /// The listeners' own addresses.
    own: Vec<SocketAddr>,
    refused: u64,
}

impl Inbound {
    /// Has the lookup give connections to these sockets; call it within a runtime.
    pub(super) fn new(sockets: Sockets, maps: &Maps) -> io::Result<Self> {
        let own = sockets.addresses()?;
        let sockets = sockets.streams()?;
        let mut listeners = SockMap::try_from(maps.open("LISTENERS")?).map_err(io::Error::other)?;
        for (socket, at) in sockets.iter().zip(&own) {
            let index = u32::from(at.is_ipv6());
            listeners.set(index, socket, 0).map_err(io::Error::other)?;
        }
        Ok(Self {
            acceptor: Acceptor::new(sockets)?,
            own,
            refused: 0,
        })
    }
}

#[async_trait]
impl Intake for Inbound {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let Accepted {
                stream,
                client,
                local,
            } = self.acceptor.accept().await;
            if !self.own.contains(&canonical(local)) {
                return Some(Steered {
                    flow: Flow::Tcp(stream),
                    client,
                    destination: Destination::addr(local),
                    // The program is on another machine.
                    identity: Identity::default(),
                    via: Method::Ebpf,
                    upstream: None,
                    app: None,
                    inside: None,
                    answer: Box::new(ResetAnswer),
                });
            }
            self.refused += 1;
            tracing::debug!(%client, count = self.refused, "a direct connection was refused");
            abort(stream);
        }
    }
}
