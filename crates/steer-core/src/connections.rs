//! TCP connections that come to a listener, and where each wanted to go.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::accept::{Accepted, Acceptor};
use crate::address::{ClientAddr, Destination, OrigDst};
use crate::intake::Intake;
use crate::method::Method;
use crate::policy::App;
use crate::steered::{Flow, Identity, ResetAnswer, Steered, abort};
use async_trait::async_trait;
use tokio::net::TcpStream;

/// Where a connection wanted to go.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was steered, and this is where it was going.
    Steered(OrigDst),
    /// It was addressed to the listener itself.
    Direct,
}

/// Asks where an accepted connection wanted to go, given its local address.
pub type Ask = Box<dyn Fn(&TcpStream, SocketAddr) -> io::Result<Origin> + Send + Sync>;

/// Tells who opened a connection, given its client and its original destination.
pub type Owner = Box<dyn Fn(ClientAddr, OrigDst) -> Identity + Send + Sync>;

/// Connections with the destination that each one asked for.
pub struct Connections {
    acceptor: Acceptor,
    origin: Ask,
    owner: Owner,
    method: Method,
    app: Option<App>,
    refused: u64,
}

impl Connections {
    /// Takes connections from listeners and asks where each wanted to go; `app` is what is spoken
    /// on them, where it is prescribed.
    #[must_use]
    pub fn new(
        acceptor: Acceptor,
        origin: Ask,
        owner: Owner,
        method: Method,
        app: Option<App>,
    ) -> Self {
        Self {
            acceptor,
            origin,
            owner,
            method,
            app,
            refused: 0,
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acceptor,
            origin: _,
            owner: _,
            method,
            app,
            refused,
        } = self;
        f.debug_struct("Connections")
            .field("acceptor", acceptor)
            .field("method", method)
            .field("app", app)
            .field("refused", refused)
            .finish_non_exhaustive()
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
            match (self.origin)(&stream, local) {
                Ok(Origin::Steered(to)) => {
                    return Some(Steered {
                        identity: (self.owner)(client, to),
                        flow: Flow::Tcp(stream),
                        client,
                        destination: Destination::Addr(to),
                        via: self.method,
                        upstream: None,
                        app: self.app,
                        inside: None,
                        answer: Box::new(ResetAnswer),
                    });
                }
                // The gate in the rules refuses these; without a gate (its rules gone, say), or
                // where one was steered to the listener's own address, they are refused here.
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
