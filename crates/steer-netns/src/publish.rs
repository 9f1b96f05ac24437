//! Ports of the command that others reach, peculiar to this method: nobody comes in otherwise.

use std::io;

use async_trait::async_trait;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{Destination, HostName, Protocol};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Publish;
use steer_core::method::Method;
use steer_core::object::{Binding, Listener};
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered};
use steer_core::symbol::ListenerId;

/// The listener outside of a published port. What comes to it is dialled inside, at `localhost`.
pub(crate) fn listener(publish: &Publish) -> Listener {
    let host: HostName = "localhost".parse().expect("a literal name is valid");
    let port = publish.port;
    Listener {
        id: ListenerId(format!("publish-{}", publish.listen)),
        method: Method::Netns,
        protocol: Protocol::Tcp,
        addresses: vec![publish.listen.ip()],
        port: Some(publish.listen.port()),
        to: Some(Destination::Name { host, port }),
        binding: Binding::Own,
        app: None,
    }
}

/// Whether a listener of this method is that of a published port.
pub(crate) fn is_published(listener: &Listener) -> bool {
    listener.to.is_some()
}

/// Connections to a published port.
#[derive(Debug)]
pub(crate) struct Published {
    acceptor: Acceptor,
    to: Destination,
    via: Method,
}

impl Published {
    pub(crate) fn new(bound: Bound, to: Destination) -> io::Result<Self> {
        Ok(Self {
            acceptor: Acceptor::new(bound.sockets.streams()?)?,
            to,
            via: bound.listener.method,
        })
    }
}

#[async_trait]
impl Intake for Published {
    async fn next(&mut self) -> Option<Steered> {
        let Accepted { stream, client, .. } = self.acceptor.accept().await;
        Some(Steered {
            flow: Flow::Tcp(stream),
            client,
            destination: self.to.clone(),
            // Whoever is outside: nothing is known of him.
            identity: Identity::default(),
            via: self.via,
            upstream: None,
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        })
    }
}
