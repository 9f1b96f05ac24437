//! A DNS server that answers as a test says, honestly or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::DnsQuery;
use crate::family::canonical;
use crate::host::Host;
use crate::watched::{DEADLINE, Watched};

/// What a question came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

/// What a server sends for a question: as many messages as there are, none for silence.
type Answer = dyn Fn(&DnsQuery, Transport) -> Vec<Vec<u8>> + Send + Sync;

/// A server of one address over UDP and TCP, from [`Host::serve_dns`]; it ends on drop.
#[derive(Debug)]
pub struct DnsServer {
    seen: Arc<Watched<Vec<(DnsQuery, Transport, SocketAddr)>>>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answer>,
    seen: Arc<Watched<Vec<(DnsQuery, Transport, SocketAddr)>>>,
}

impl DnsServer {
    /// All questions so far, with what they came over and from whom.
    pub fn seen(&self) -> Vec<(DnsQuery, Transport, SocketAddr)> {
        self.seen.read(Clone::clone)
    }

    /// Waits for so many questions, and gives them.
    pub fn wait_seen(&self, count: usize) -> Vec<(DnsQuery, Transport, SocketAddr)> {
        self.seen.expect("the questions", |seen| {
            (seen.len() >= count).then(|| seen.clone())
        })
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Host {
    /// Answers DNS at an address as the closure says; it is asked once a question.
    pub fn serve_dns(
        &self,
        address: SocketAddr,
        answer: impl Fn(&DnsQuery, Transport) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> DnsServer {
        let open = || Ok::<_, io::Error>((UdpSocket::bind(address)?, TcpListener::bind(address)?));
        let sockets = self.enter(open);
        let (udp, tcp) = sockets.unwrap_or_else(|error| panic!("DNS on {address}: {error}"));
        let seen = Arc::new(Watched::default());
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            seen: Arc::clone(&seen),
        });
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let thread = thread::spawn(move || shared.serve(&udp, &tcp, &stopped));
        DnsServer {
            seen,
            stop,
            thread: Some(thread),
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, udp: &UdpSocket, tcp: &TcpListener, stopped: &UnixStream) {
        loop {
            let fds = [udp.as_fd(), tcp.as_fd(), stopped.as_fd()];
            let mut ready = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut ready, PollTimeout::NONE).is_err() {
                continue;
            }
            let [udp_ready, tcp_ready, stop] = ready.map(|fd| fd.any() == Some(true));
            if stop {
                return;
            }
            // A client that breaks off is its own test's business.
            if udp_ready {
                let _ = self.datagram(udp);
            }
            if tcp_ready && let Ok((stream, peer)) = tcp.accept() {
                let shared = Arc::clone(self);
                thread::spawn(move || shared.connection(stream, peer));
            }
        }
    }

    fn datagram(&self, udp: &UdpSocket) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let (count, peer) = udp.recv_from(&mut buffer)?;
        for answer in self.answers(&buffer[..count], Transport::Udp, peer) {
            udp.send_to(&answer, peer)?;
        }
        Ok(())
    }

    /// Messages on a connection follow their length (RFC 1035, section 4.2.2).
    fn connection(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_read_timeout(Some(DEADLINE))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message)?;
            for answer in self.answers(&message, Transport::Tcp, peer) {
                let length = u16::try_from(answer.len()).expect("a message fits");
                stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
            }
        }
    }

    fn answers(&self, message: &[u8], over: Transport, peer: SocketAddr) -> Vec<Vec<u8>> {
        let Some(query) = DnsQuery::parse(message) else {
            return Vec::new();
        };
        let answers = (self.answer)(&query, over);
        self.seen
            .update(|seen| seen.push((query, over, canonical(peer))));
        answers
    }
}
