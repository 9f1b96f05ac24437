//! The way of datagrams to a destination.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use steer_core::address::{Destination, Family, Protocol};
use steer_core::datagram::{Batch, Connected};
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

use super::direct::{Dialled, Dialler, Terms, bind};
use super::socks5::datagram;
use super::wire::Wire;
use crate::engine::loops::Claim;
use crate::error::UpstreamError;

/// The way of datagrams to a destination, itself or through a relay.
#[derive(Debug)]
pub(crate) struct Way {
    socket: Connected,
    relay: Option<Relay>,
    /// By which the engine knows the dial as its own.
    _claim: Claim,
}

/// What SOCKS5 proxies want of each datagram.
#[derive(Debug)]
struct Relay {
    /// That of the first relay, then that of the next one.
    header: Vec<u8>,
    /// Whose datagrams each relay passes on, in the same order.
    senders: Vec<datagram::Sender>,
    /// The connections that the relaying lasts as long as.
    controls: Vec<Dialled>,
}

impl Dialler {
    /// The way to the first of the addresses that has one. Nothing is sent.
    pub(crate) fn way(
        &self,
        addresses: &[SocketAddr],
        to: &Destination,
        terms: Terms,
    ) -> Result<Way, UpstreamError> {
        let mut last = UpstreamError::Deadline(to.clone());
        for address in addresses {
            match self.way_to(*address, terms) {
                Ok(way) => return Ok(way),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn way_to(&self, address: SocketAddr, terms: Terms) -> Result<Way, UpstreamError> {
        if self.leads_back(address) {
            return Err(UpstreamError::Loop(address));
        }
        let failed = |source| UpstreamError::Connect { address, source };
        let socket = self.sockets.udp(Family::of(address.ip())).map_err(failed)?;
        bind(&socket, terms.source, address)?;
        socket.connect(&address.into()).map_err(failed)?;
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        // Before the first datagram leaves: one that is steered back to the engine is known.
        let claim = self.loops.claim(self.place, Protocol::Udp, local, address);
        if local == Some(address) {
            return Err(UpstreamError::Loop(address));
        }
        let mut socket = Connected::new(socket.into()).map_err(failed)?;
        // The program decides what it makes of them, as it would without the engine.
        socket.hear_passing_errors().map_err(failed)?;
        Ok(Way {
            socket,
            relay: None,
            _claim: claim,
        })
    }

    /// The way to a target through the relays of SOCKS5 proxies, each of which sends on to the next.
    pub(crate) async fn relayed(
        &self,
        controls: Vec<Control>,
        target: Destination,
        terms: Terms,
    ) -> Result<Way, UpstreamError> {
        let first = controls.first().expect("there is a proxy at least");
        let proxy = first.dialled.stream.socket().peer_addr();
        let proxy = proxy.map_err(UpstreamError::Broken)?;
        let addresses = match &first.relay {
            Destination::Addr(at) => vec![reached(at.addr(), proxy.ip())],
            Destination::Name { host, port } => self.resolve(host, *port, terms.deadline).await?,
        };
        let mut way = self.way(&addresses, &first.relay, terms)?;
        let next = controls.iter().skip(1).map(|control| &control.relay);
        let stages: Vec<_> = next.cloned().chain([target]).collect();
        way.relay = Some(Relay {
            header: stages.iter().flat_map(datagram::header).collect(),
            senders: stages.into_iter().map(datagram::Sender::of).collect(),
            controls: controls
                .into_iter()
                .map(|control| control.dialled)
                .collect(),
        });
        Ok(way)
    }
}

/// A connection to a SOCKS5 proxy that lasts as long as its relaying, and where it relays.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) dialled: Dialled,
    pub(crate) relay: Destination,
}

/// Where a relay is that says it is at `at`.
fn reached(at: SocketAddr, proxy: IpAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        SocketAddr::new(proxy.to_canonical(), at.port())
    } else {
        at
    }
}

/// What kept a batch from leaving, where it was not a full buffer.
pub(crate) type Unsent = Option<io::Error>;

impl Way {
    /// Sends a batch without waiting; `spare` is room that is left empty.
    pub(crate) fn send(&mut self, batch: &Batch, spare: &mut Batch) -> Unsent {
        let Some(relay) = &self.relay else {
            return self.socket.send(batch).error;
        };
        spare.clear();
        for datagram in batch.iter() {
            spare.push_parts(&[&relay.header, datagram]);
        }
        let sent = self.socket.send(spare);
        spare.clear();
        sent.error
    }

    /// Appends what has come to `batch`, at least one datagram; `spare` is room that is left empty.
    ///
    /// # Errors
    /// What ICMP or the kernel told of the destination; `UnexpectedEof` where the proxy has given
    /// up the relaying.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        spare: &mut Batch,
    ) -> Poll<io::Result<()>> {
        let Some(relay) = &mut self.relay else {
            return self.socket.poll_receive(cx, batch);
        };
        if let Poll::Ready(end) = relay.poll_end(cx) {
            return Poll::Ready(Err(end));
        }
        let known = batch.len();
        loop {
            spare.clear();
            match self.socket.poll_receive(cx, spare) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            for datagram in spare.iter() {
                let mut senders = relay.senders.iter_mut();
                let unwrapped = senders.try_fold(datagram, |inner, sender| sender.unwrap(inner));
                if let Some(payload) = unwrapped {
                    batch.push(payload);
                }
            }
            spare.clear();
            if batch.len() > known {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether a proxy is asked rather than the destination.
    pub(crate) fn is_relayed(&self) -> bool {
        self.relay.is_some()
    }
}

impl Relay {
    /// Ready when a proxy has closed its connection. It has nothing to say on it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        for control in &mut self.controls {
            if let Poll::Ready(end) = poll_end(&mut control.stream, cx) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }
}

fn poll_end(stream: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Error> {
    let mut room = [0; 64];
    loop {
        let mut read = ReadBuf::new(&mut room);
        match Pin::new(&mut *stream).poll_read(cx, &mut read) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) if read.filled().is_empty() => {
                return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
            }
            Poll::Ready(Ok(())) => {}
        }
    }
}
