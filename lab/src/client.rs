//! A client that tells exactly how its connection failed or ended.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use crate::family::{Family, canonical};
use crate::host::Host;
use crate::pattern::{Digest, Pattern};
use crate::watched::DEADLINE;

/// Why a connection was not made, or a datagram not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Refused: a RST, or an ICMP port unreachable.
    Refused,
    /// No route, or an ICMP unreachable: EHOSTUNREACH or ENETUNREACH.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Reset while connecting.
    Reset,
    /// Forbidden on this host: EPERM or EACCES.
    Denied,
    /// Another error of the system.
    Other(Errno),
}

/// How one direction of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not ended, as far as was seen in the time that was given.
    Open,
    /// Ended in order, by FIN.
    Fin,
    /// Ended by RST.
    Reset,
    /// Ended by this side itself.
    Closed,
    /// Ended by another error, such as ETIMEDOUT.
    Failed(Errno),
}

impl End {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN) => Self::Open,
            Some(Errno::ECONNRESET | Errno::EPIPE) => Self::Reset,
            Some(errno) => Self::Failed(errno),
            None => Self::Failed(Errno::EIO),
        }
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno) => Self::of(errno),
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            None => Self::Other(Errno::EIO),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl Failure {
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::EHOSTUNREACH | Errno::ENETUNREACH => Self::Unreachable,
            Errno::ETIMEDOUT | Errno::EAGAIN => Self::TimedOut,
            Errno::ECONNRESET => Self::Reset,
            Errno::EPERM | Errno::EACCES => Self::Denied,
            errno => Self::Other(errno),
        }
    }

    /// An error of the system that [`Self::of`] reads as this one.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Refused => Errno::ECONNREFUSED,
            Self::Unreachable => Errno::EHOSTUNREACH,
            Self::TimedOut => Errno::ETIMEDOUT,
            Self::Reset => Errno::ECONNRESET,
            Self::Denied => Errno::EACCES,
            Self::Other(errno) => errno,
        }
    }
}

/// A TCP connection seen from the client's side; closed on drop.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
}

/// What came in until a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// The checksum of the bytes, and their number.
    pub digest: Digest,
    /// How the other side ended.
    pub end: End,
}

impl Client {
    /// Connects from the calling thread's namespace, within the [`DEADLINE`].
    ///
    /// # Errors
    /// How the connection failed, in the client's own terms.
    pub fn connect(destination: SocketAddr) -> Result<Self, Failure> {
        Self::connect_within(destination, DEADLINE)
    }

    /// As [`Self::connect`], for destinations that are expected not to answer.
    ///
    /// # Errors
    /// How the connection failed, in the client's own terms.
    pub fn connect_within(destination: SocketAddr, within: Duration) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&destination, within)
            .map_err(|error| Failure::from(&error))?;
        // Asked for while the connection is young: the kernel forgets the peer when both sides have ended.
        let local = stream.local_addr();
        let local = local.expect("a connected socket has an address");
        let peer = stream.peer_addr().unwrap_or(destination);
        Ok(Self::adopt(stream, local, peer))
    }

    /// Takes over a connection with the addresses that it had when it was made.
    pub(crate) fn adopt(stream: TcpStream, local: SocketAddr, peer: SocketAddr) -> Self {
        let set = stream.set_nodelay(true);
        set.expect("a connected socket takes options");
        let (local, peer) = (canonical(local), canonical(peer));
        let client = Self {
            stream,
            local,
            peer,
        };
        client.patience(DEADLINE);
        client
    }

    /// How long each later call may wait for the other side: the [`DEADLINE`] if not said.
    pub fn patience(&self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a patience that is not zero");
        self.stream
            .set_write_timeout(Some(patience))
            .expect("a patience that is not zero");
    }

    /// The address that it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The address that it believes to be connected to, as `getpeername` said after the connect.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends all bytes.
    ///
    /// # Errors
    /// How the connection had ended; [`End::Open`] when the other side did not take them in time.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.stream
            .write_all(bytes)
            .map_err(|error| End::of(&error))
    }

    /// Receives exactly so many bytes.
    ///
    /// # Errors
    /// How the connection ended before; [`End::Open`] when too few came in time.
    pub fn receive(&mut self, count: usize) -> Result<Vec<u8>, End> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(End::Fin),
                Ok(read) => filled += read,
                Err(error) => return Err(End::of(&error)),
            }
        }
        Ok(bytes)
    }

    /// Receives whatever comes until the other side ends, and how it ended.
    pub fn receive_all(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = self.receive_into(|part| bytes.extend_from_slice(part));
        (bytes, end)
    }

    /// As [`Self::receive_all`], keeping only the checksum.
    pub fn download(&mut self) -> Download {
        let mut digest = Digest::default();
        let end = self.receive_into(|part| digest.update(part));
        Download { digest, end }
    }

    /// Sends so many bytes of the pattern.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn upload(&mut self, pattern: Pattern, length: u64) -> Result<(), End> {
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < length {
            let count = buffer.len().min((length - offset) as usize);
            pattern.fill(offset, &mut buffer[..count]);
            self.send(&buffer[..count])?;
            offset += count as u64;
        }
        Ok(())
    }

    /// Ends the sending direction by a FIN; receiving goes on.
    pub fn finish(&self) {
        // The other side may have reset meanwhile, which the next receive tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection by a RST.
    pub fn reset(self) {
        let now = Some(Duration::ZERO);
        SockRef::from(&self.stream)
            .set_linger(now)
            .expect("a socket takes options");
    }

    /// A second handle to the same connection, for one thread a direction.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let Self {
            stream,
            local,
            peer,
        } = self;
        let stream = stream.try_clone().expect("a descriptor can be duplicated");
        Self {
            stream,
            local: *local,
            peer: *peer,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn receive_into(&mut self, mut take: impl FnMut(&[u8])) -> End {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return End::Fin,
                Ok(count) => take(&buffer[..count]),
                Err(error) => return End::of(&error),
            }
        }
    }
}

impl Host {
    /// Sends a datagram from a fresh socket inside and gives the answer and whom it came from.
    ///
    /// # Errors
    /// [`Failure::TimedOut`] when no answer came in time, [`Failure::Refused`] when ICMP said so.
    pub fn ask_udp(
        &self,
        destination: SocketAddr,
        payload: &[u8],
        within: Duration,
    ) -> Result<(Vec<u8>, SocketAddr), Failure> {
        let ask = || {
            let socket = UdpSocket::bind(SocketAddr::new(Family::of(destination.ip()).any(), 0))?;
            // Unconnected, the socket would not be told of ICMP errors unless asked to.
            match Family::of(destination.ip()) {
                Family::V4 => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
                Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
            }
            socket.set_read_timeout(Some(within))?;
            socket.send_to(payload, destination)?;
            let mut buffer = vec![0; 65_536];
            let (count, from) = socket.recv_from(&mut buffer)?;
            buffer.truncate(count);
            Ok((buffer, from))
        };
        self.enter(ask)
            .map_err(|error: io::Error| Failure::from(&error))
    }
}
