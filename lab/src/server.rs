//! Servers that report what they saw.

mod http;
mod service;
mod udp;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::End;
use crate::family::canonical;
use crate::host::{Host, SMALL_STACK};
use crate::watched::Watched;

pub use service::Service;
pub use udp::{Datagram, UdpServer};

/// One connection as its server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The address that the client connected from.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// How many bytes came in.
    pub received: u64,
    /// The first bytes that came in, 4096 at most.
    pub head: Vec<u8>,
    /// How many bytes were written.
    pub sent: u64,
    /// How the client ended its side.
    pub end: End,
}

impl Connection {
    /// The first bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}

/// A TCP server on threads of its own, from [`Host::serve`]; it ends with its connections on drop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    service: Service,
    seen: Watched<Vec<Connection>>,
    streams: Watched<Vec<Weak<TcpStream>>>,
}

impl Server {
    pub(crate) fn start(host: &Host, address: SocketAddr, service: Service) -> Self {
        let listener = host.enter(|| listen(address));
        let listener = listener.unwrap_or_else(|error| panic!("listen on {address}: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            service,
            seen: Watched::default(),
            streams: Watched::default(),
        });
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || accepting.accept(&listener, &stopped));
        Self {
            address,
            shared,
            stop,
            thread: Some(thread),
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All connections so far, in the order of their acceptance.
    pub fn seen(&self) -> Vec<Connection> {
        self.shared.seen.read(Clone::clone)
    }

    /// Waits until what was seen satisfies the condition, and gives it.
    ///
    /// An index that is out of range in the condition panics; test the length first. Panics with
    /// what was seen after the [`DEADLINE`](crate::DEADLINE).
    pub fn wait_for(&self, wanted: impl Fn(&[Connection]) -> bool) -> Vec<Connection> {
        self.shared
            .seen
            .expect("what the server should see", |seen| {
                wanted(seen).then(|| seen.clone())
            })
    }

    /// Waits until this many connections were accepted and all of them have ended.
    pub fn wait_ended(&self, count: usize) -> Vec<Connection> {
        self.wait_for(|seen| seen.len() >= count && seen.iter().all(|one| one.end != End::Open))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.streams.update(|streams| {
            for stream in streams.drain(..).filter_map(|stream| stream.upgrade()) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener, stopped: &UnixStream) {
        loop {
            let mut ready =
                [listener.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut ready, PollTimeout::NONE).is_err() {
                continue;
            }
            if ready[1].any() == Some(true) {
                return;
            }
            match listener.accept() {
                Ok((stream, peer)) => self.handle(stream, peer),
                // A client may be gone before it is accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => panic!("accept: {error}"),
            }
        }
    }

    fn handle(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let local = stream.local_addr().map_or(peer, canonical);
        let peer = canonical(peer);
        let new = Connection {
            peer,
            local,
            received: 0,
            head: Vec::new(),
            sent: 0,
            end: End::Open,
        };
        let index = self.seen.update(|seen| {
            seen.push(new);
            seen.len() - 1
        });
        let stream = Arc::new(stream);
        self.streams
            .update(|streams| streams.push(Arc::downgrade(&stream)));
        let shared = Arc::clone(self);
        let serve = move || {
            let mut talk = Talk {
                stream,
                shared: Arc::clone(&shared),
                index,
            };
            let end = shared.service.serve(&mut talk);
            talk.note(|connection| connection.end = end);
        };
        thread::Builder::new()
            .stack_size(SMALL_STACK)
            .spawn(serve)
            .expect("the machine has room for a thread");
    }
}

/// A connection being served, whose every byte is noted.
struct Talk {
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
    index: usize,
}

impl Talk {
    fn note(&self, change: impl FnOnce(&mut Connection)) {
        self.shared
            .seen
            .update(|seen| change(&mut seen[self.index]));
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = io::Read::read(&mut &*self.stream, buffer)?;
        self.note(|connection| {
            connection.received += count as u64;
            let room = HEAD.saturating_sub(connection.head.len()).min(count);
            connection.head.extend_from_slice(&buffer[..room]);
        });
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &*self.stream, bytes)?;
        self.note(|connection| connection.sent += bytes.len() as u64);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

/// A listener for one address, or for both families where the address is the unspecified IPv6 one.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// How much of what came in is kept.
const HEAD: usize = 4096;
