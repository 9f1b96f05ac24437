//! The way of datagrams to a destination.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use steer_core::address::{Destination, Family, Protocol};
use steer_core::datagram::{Batch, Connected};
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::time::timeout_at;

use super::Login;
use super::direct::{Dialled, Dialler, Terms, bind};
use super::socks5::{self, datagram};
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

/// What a SOCKS5 proxy wants of each datagram.
#[derive(Debug)]
struct Relay {
    header: Vec<u8>,
    sender: datagram::Sender,
    /// The connection that the relaying lasts as long as.
    control: Dialled,
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

    /// The way to a target through the SOCKS5 proxy at the other end of `control`.
    pub(crate) async fn relayed(
        &self,
        mut control: Dialled,
        target: Destination,
        login: Option<&Login>,
        terms: Terms,
    ) -> Result<Way, UpstreamError> {
        let late = |_| UpstreamError::Deadline(target.clone());
        let asked = socks5::associate(&mut control.stream, login);
        let at = timeout_at(terms.deadline, asked).await.map_err(late)??;
        let proxy = control.stream.peer_addr().map_err(UpstreamError::Broken)?;
        let addresses = match &at {
            Destination::Addr(at) => vec![reached(at.addr(), proxy.ip())],
            Destination::Name { host, port } => self.resolve(host, *port, terms.deadline).await?,
        };
        let mut way = self.way(&addresses, &at, terms)?;
        way.relay = Some(Relay {
            header: datagram::header(&target),
            sender: datagram::Sender::of(target),
            control,
        });
        Ok(way)
    }
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
                if let Some(payload) = relay.sender.unwrap(datagram) {
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
    /// Ready when the proxy has closed the connection. It has nothing to say on it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut room = [0; 64];
        loop {
            let mut read = ReadBuf::new(&mut room);
            let stream = std::pin::Pin::new(&mut self.control.stream);
            match stream.poll_read(cx, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}
