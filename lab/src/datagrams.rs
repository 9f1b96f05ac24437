//! A UDP client that tells how its datagrams fared.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use crate::agent::Kept;
use crate::client::Failure;
use crate::family::{Family, canonical};
use crate::host::Host;
use crate::watched::DEADLINE;

/// A UDP socket seen from the program's side; its errors are those that the program would get.
#[derive(Debug)]
pub struct UdpClient {
    socket: Side,
    patience: Mutex<Duration>,
}

/// Whose calls those of the socket are.
#[derive(Debug)]
enum Side {
    /// This process's.
    Ours(UdpSocket),
    /// An agent's.
    Agents(Kept),
}

impl UdpClient {
    /// Takes over a socket that was made elsewhere, such as by an [`Agent`](crate::Agent).
    ///
    /// It is told of ICMP errors also where it is not connected (`IP_RECVERR`).
    pub fn over(socket: UdpSocket) -> Self {
        let family = Family::of(socket.local_addr().expect("a bound socket").ip());
        let set = match family {
            Family::V4 => setsockopt(&socket, sockopt::Ipv4RecvErr, &true),
            Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvErr, &true),
        };
        set.expect("a datagram socket can be told of errors");
        // Room for the largest datagrams, whatever the default is.
        let room = SockRef::from(&socket).set_send_buffer_size(1 << 20);
        room.expect("a socket takes options");
        Self::of(Side::Ours(socket))
    }

    /// A socket of the calling thread's namespace, as [`Self::over`] has them.
    pub(crate) fn bind(address: SocketAddr) -> Self {
        let bound = UdpSocket::bind(address);
        Self::over(bound.unwrap_or_else(|error| panic!("UDP on {address}: {error}")))
    }

    /// A socket of the calling thread's namespace that is connected, and told of errors as every
    /// such socket is.
    ///
    /// # Errors
    /// Why the kernel would not connect it.
    pub(crate) fn bind_to(to: SocketAddr) -> Result<Self, Failure> {
        let any = SocketAddr::new(Family::of(to.ip()).any(), 0);
        let socket = UdpSocket::bind(any).expect("a port is free");
        let client = Self::of(Side::Ours(socket));
        client.connect(to)?;
        Ok(client)
    }

    /// One that an agent keeps.
    pub(crate) fn kept(socket: Kept) -> Self {
        Self::of(Side::Agents(socket))
    }

    fn of(socket: Side) -> Self {
        let patience = Mutex::new(DEADLINE);
        Self { socket, patience }
    }

    /// How long [`Self::receive`] waits: the [`DEADLINE`] if not said.
    pub fn patience(&self, patience: Duration) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    /// Connects it: it sends there and hears only from there.
    ///
    /// # Errors
    /// Why the kernel would not.
    pub fn connect(&self, to: SocketAddr) -> Result<(), Failure> {
        match &self.socket {
            Side::Ours(socket) => fare(socket.connect(to)),
            Side::Agents(socket) => socket.connect(to),
        }
    }

    /// The address that it is bound to.
    pub fn local(&self) -> SocketAddr {
        match &self.socket {
            Side::Ours(socket) => canonical(socket.local_addr().expect("a bound socket")),
            Side::Agents(socket) => socket.local(),
        }
    }

    /// Sends a datagram to an address.
    ///
    /// # Errors
    /// Why it was not sent, or what befell an earlier one.
    pub fn send_to(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Failure> {
        match &self.socket {
            Side::Ours(socket) => fare(socket.send_to(bytes, to)).map(drop),
            Side::Agents(socket) => socket.send_to(to, bytes),
        }
    }

    /// Sends a datagram over a connected socket.
    ///
    /// # Errors
    /// As [`Self::send_to`].
    pub fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        match &self.socket {
            Side::Ours(socket) => fare(socket.send(bytes)).map(drop),
            Side::Agents(socket) => socket.send(bytes),
        }
    }

    /// Sends bytes over a connected socket as datagrams of one size, in one call (`UDP_SEGMENT`).
    ///
    /// # Errors
    /// As [`Self::send_to`].
    pub fn send_segmented(&self, bytes: &[u8], size: u16) -> Result<(), Failure> {
        let socket = match &self.socket {
            Side::Ours(socket) => socket,
            Side::Agents(socket) => return socket.send_segmented(bytes, size),
        };
        let set = |size: u16| setsockopt(socket, sockopt::UdpGsoSegment, &i32::from(size));
        set(size).expect("the kernel cuts datagrams");
        let sent = self.send(bytes);
        set(0).expect("it need not");
        sent
    }

    /// Receives a datagram and tells whom it came from.
    ///
    /// # Errors
    /// [`Failure::TimedOut`] when none came in time; [`Failure::Refused`] and others when ICMP
    /// said so of an earlier one.
    pub fn receive(&self) -> Result<(Vec<u8>, SocketAddr), Failure> {
        let patience = *self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = match &self.socket {
            Side::Ours(socket) => socket,
            Side::Agents(socket) => return socket.receive(patience),
        };
        let set = socket.set_read_timeout(Some(patience));
        set.expect("a patience that is not zero");
        let mut buffer = vec![0; 65_536];
        let (count, from) = fare(socket.recv_from(&mut buffer))?;
        buffer.truncate(count);
        Ok((buffer, canonical(from)))
    }

    /// The socket, which must not be an agent's.
    pub fn socket(&self) -> &UdpSocket {
        match &self.socket {
            Side::Ours(socket) => socket,
            Side::Agents(socket) => panic!("only the agent has {socket:?}"),
        }
    }

    /// Sends a datagram and receives one.
    ///
    /// # Errors
    /// As both of them.
    pub fn ask(&self, to: SocketAddr, bytes: &[u8]) -> Result<(Vec<u8>, SocketAddr), Failure> {
        self.send_to(to, bytes)?;
        self.receive()
    }
}

impl Host {
    /// A socket inside that is bound to a free port and not connected.
    pub fn udp(&self, family: Family) -> UdpClient {
        self.udp_at(SocketAddr::new(family.any(), 0))
    }

    /// A socket inside that is bound to this address and not connected.
    pub fn udp_at(&self, address: SocketAddr) -> UdpClient {
        self.enter(|| UdpClient::bind(address))
    }

    /// A socket inside that is connected, and told of errors as every such socket is.
    ///
    /// # Errors
    /// Why the kernel would not connect it.
    pub fn udp_to(&self, to: SocketAddr) -> Result<UdpClient, Failure> {
        self.enter(|| UdpClient::bind_to(to))
    }
}

fn fare<T>(result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::from(&error))
}
