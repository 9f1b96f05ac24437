//! Resolving and dialling.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, Socket};
use steer_core::address::{Destination, Family, HostName, Protocol};
use steer_core::intent::Source;
use steer_core::netns::MakeSockets;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::standing::Permit;
use super::wire::Wire;
use super::{MadeSockets, Resolver, SocketFactory};
use crate::engine::loops::{Claim, Loops, Place};
use crate::error::UpstreamError;

/// A connected stream, and what it holds for as long as it lives.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Wire,
    pub(crate) claim: Hold,
}

/// The claim by which the engine knows a dial as its own, and its places at the proxies on the way.
#[derive(Debug)]
pub(crate) struct Hold {
    _claim: Claim,
    permit: Option<Box<Permit>>,
}

impl Hold {
    /// Holds a place at one more proxy.
    pub(crate) fn hold(&mut self, mut permit: Box<Permit>) {
        permit.next = self.permit.take();
        self.permit = Some(permit);
    }
}

/// What bounds a dial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) deadline: Instant,
    /// The address that the dial comes from; none lets the routing choose.
    pub(crate) source: Option<IpAddr>,
}

impl Terms {
    /// The terms for the next of those that wait, when it has its part of the time.
    pub(crate) fn share(self, waiting: usize) -> Self {
        let waiting = u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
        let now = Instant::now();
        Self {
            deadline: now + self.deadline.saturating_duration_since(now) / waiting,
            ..self
        }
    }
}

/// Dials, and never itself.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    pub(crate) sockets: Arc<dyn SocketFactory>,
    /// Where the sockets are.
    pub(crate) place: Place,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) loops: Arc<Loops>,
    /// Whether this host's congestion control is another one than reno.
    pub(crate) retune: bool,
    pub(crate) source: Source,
}

impl Dialler {
    /// One that dials from another place. Names are looked up by the same resolver.
    pub(crate) fn at(&self, inside: &Arc<dyn MakeSockets>) -> Self {
        Self {
            sockets: Arc::new(MadeSockets::like(&self.sockets, Arc::clone(inside))),
            place: Place::of(inside),
            ..self.clone()
        }
    }

    /// Whether a connection of this place that came in is one of our own dials.
    pub(crate) fn is_ours(
        &self,
        protocol: Protocol,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> bool {
        self.loops
            .is_ours(self.place, protocol, client, destination)
    }

    /// Whether dialling an address would reach a listener of ours.
    pub(crate) fn leads_back(&self, to: SocketAddr) -> bool {
        self.loops.leads_back(to, &self.sockets)
    }

    /// The terms of dials for a client.
    pub(crate) fn terms(&self, client: IpAddr, deadline: Instant) -> Terms {
        let source = match self.source {
            Source::Client => Some(client.to_canonical()),
            Source::Engine => None,
        };
        Terms { deadline, source }
    }

    /// Connects to a destination.
    pub(crate) async fn dial(
        &self,
        to: &Destination,
        terms: Terms,
    ) -> Result<Dialled, UpstreamError> {
        match to {
            Destination::Addr(address) => self.dial_address(address.addr(), to, terms).await,
            Destination::Name { host, port } => {
                let addresses = self.resolve(host, *port, terms.deadline).await?;
                self.dial_any(&addresses, to, terms).await
            }
        }
    }

    /// The addresses of a name, in the resolver's order; at least one.
    pub(crate) async fn resolve(
        &self,
        host: &HostName,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let found = timeout_at(deadline, self.resolver.resolve(host, port)).await;
        let addresses = match found {
            Err(_) => {
                return Err(UpstreamError::Deadline(Destination::Name {
                    host: host.clone(),
                    port,
                }));
            }
            Ok(found) => found.map_err(|source| UpstreamError::Resolve {
                name: host.clone(),
                source,
            })?,
        };
        if addresses.is_empty() {
            Err(UpstreamError::NoAddress(host.clone()))
        } else {
            Ok(addresses)
        }
    }

    /// Connects to one address.
    pub(crate) async fn dial_address(
        &self,
        address: SocketAddr,
        to: &Destination,
        terms: Terms,
    ) -> Result<Dialled, UpstreamError> {
        if self.leads_back(address) {
            return Err(UpstreamError::Loop(address));
        }
        let failed = |source| UpstreamError::Connect { address, source };
        let socket = self.sockets.tcp(Family::of(address.ip())).map_err(failed)?;
        bind(&socket, terms.source, address)?;
        // A killed engine must not pass for the end of the program's data.
        socket.set_linger(Some(Duration::ZERO)).map_err(failed)?;
        socket.set_tcp_nodelay(true).map_err(failed)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                return Err(failed(error));
            }
            _ => {}
        }
        // Before this thread yields: a dial that is steered back to the engine is accepted next.
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        let claim = self.loops.claim(self.place, Protocol::Tcp, local, address);
        if local == Some(address) {
            // TCP's simultaneous open: the kernel chose the destination's port as the source port.
            return Err(UpstreamError::Loop(address));
        }
        if self.retune {
            tune(
                &SockRef::from(&socket),
                local.map(|local| local.ip()),
                address.ip(),
            );
        }
        let stream = TcpStream::from_std(socket.into()).map_err(failed)?;
        let ready = match timeout_at(terms.deadline, stream.ready(Interest::WRITABLE)).await {
            Err(_) => return Err(UpstreamError::Deadline(to.clone())),
            Ok(ready) => ready.map_err(failed)?,
        };
        // Epoll reports a failed connect as a hang-up, so a good one needs no look at SO_ERROR.
        if ready.is_write_closed() {
            match stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Err(failed(error)),
            }
        }
        Ok(Dialled {
            stream: Wire::Plain(stream),
            claim: Hold {
                _claim: claim,
                permit: None,
            },
        })
    }
}

/// Gives a socket the source that a dial is to come from.
pub(super) fn bind(
    socket: &Socket,
    source: Option<IpAddr>,
    address: SocketAddr,
) -> Result<(), UpstreamError> {
    let Some(source) = source else {
        return Ok(());
    };
    // A loopback address means nothing elsewhere; its owner is this host.
    if source.is_loopback() && !address.ip().is_loopback() {
        return Ok(());
    }
    if Family::of(source) != Family::of(address.ip()) {
        return Err(UpstreamError::OtherFamily {
            client: source,
            address,
        });
    }
    let bind = || {
        // One flag of the socket, whose option has a name in both families.
        setsockopt(socket, sockopt::IpTransparent, &true)?;
        // The port is chosen when the destination is known, so that one source has room for more.
        setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())
    };
    bind().map_err(|error| UpstreamError::Source {
        address: source,
        source: error,
    })
}

/// Chooses reno for a socket whose other end is on this host: nothing is lost between the two, and
/// a paced control (BBR) is several times slower there. Others keep the host's default.
pub(crate) fn tune(socket: &SockRef<'_>, local: Option<IpAddr>, peer: IpAddr) {
    let here = |ip: IpAddr| ip.to_canonical().is_loopback();
    if here(peer)
        || local.is_some_and(|local| here(local) || local.to_canonical() == peer.to_canonical())
    {
        // A kernel without reno keeps its default, which works.
        let _ = socket.set_tcp_congestion(b"reno");
    }
}

/// Whether this host's default congestion control is another one than reno.
pub(crate) fn needs_tuning() -> bool {
    let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    default.map_or(true, |name| name.trim() != "reno")
}

/// Whether an error says that this process or host is out of descriptors.
pub(crate) fn is_out_of_descriptors(error: &UpstreamError) -> bool {
    let full = |error: &io::Error| {
        matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EMFILE | Errno::ENFILE)
        )
    };
    matches!(error, UpstreamError::Connect { source, .. } if full(source))
}
