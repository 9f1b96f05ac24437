//! An engine that greets over TCP, answers over UDP, and notes where its clients wanted to go.

use std::io::{IoSliceMut, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use lab::Host;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage,
    bind, connect, listen, recvmsg, setsockopt, shutdown, socket, sockopt,
};
use steer_core::mark::Mark;

use super::cases::SOON;

/// Where the engine listens, on the loopback addresses.
pub const PORT: u16 = 15001;
/// What the engine says first over TCP, and to every datagram.
pub const HERE: &str = "here!";

/// The engine; when it is dropped, nobody listens and its connections are closed.
pub struct Engine {
    shared: Arc<Shared>,
    listeners: Vec<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Where clients wanted to go, in the order in which they came.
    wanted: Mutex<Vec<SocketAddr>>,
    flows: Mutex<Vec<OwnedFd>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    killed: AtomicBool,
}

impl Engine {
    /// An engine in a host.
    pub fn start(host: &Host) -> Self {
        let shared = Arc::new(Shared::default());
        let (mut listeners, mut threads) = (Vec::new(), Vec::new());
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let at = SocketAddr::new(ip, PORT);
            let (stream, datagram) = host.enter(|| {
                let stream = transparent(at, SockType::Stream);
                listen(&stream, Backlog::new(64).unwrap()).unwrap();
                let datagram = transparent(at, SockType::Datagram);
                match ip {
                    IpAddr::V4(_) => setsockopt(&datagram, sockopt::Ipv4OrigDstAddr, &true),
                    IpAddr::V6(_) => setsockopt(&datagram, sockopt::Ipv6OrigDstAddr, &true),
                }
                .unwrap();
                (stream, datagram)
            });
            listeners.push(stream.try_clone().unwrap());
            listeners.push(datagram.try_clone().unwrap());
            let noted = Arc::clone(&shared);
            threads.push(thread::spawn(move || noted.accept(&stream.into())));
            let (noted, host) = (Arc::clone(&shared), host.clone());
            threads.push(thread::spawn(move || noted.hear(&datagram, &host)));
        }
        Self {
            shared,
            listeners,
            threads,
        }
    }

    /// Where clients wanted to go, in the order in which they came.
    pub fn wanted(&self) -> Vec<SocketAddr> {
        self.shared.wanted.lock().unwrap().clone()
    }
}

/// The address that a server sees, and what it says, where the engine comes as one of its clients.
pub fn dial_as(host: &Host, client: IpAddr, to: SocketAddr) -> (SocketAddr, String) {
    let mut stream: TcpStream = host.enter(|| {
        let socket = transparent(SocketAddr::new(client, 0), SockType::Stream);
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        socket.into()
    });
    let mut said = [0; 5];
    stream.read_exact(&mut said).unwrap();
    let from = stream.local_addr().unwrap();
    (from, String::from_utf8(said.into()).unwrap())
}

/// The same for a datagram `x`, which is answered.
pub fn ask_as(host: &Host, client: IpAddr, to: SocketAddr) -> Vec<u8> {
    let socket: UdpSocket = host.enter(|| {
        let socket = transparent(SocketAddr::new(client, 0), SockType::Datagram);
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        socket.into()
    });
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(b"x").unwrap();
    let mut answer = vec![0; 16];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.killed.store(true, Ordering::SeqCst);
        self.listeners.drain(..).for_each(wake);
        // Only these make flows: what they have made by their end is all there is.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let flows = std::mem::take(&mut *self.shared.flows.lock().unwrap());
        flows.into_iter().for_each(wake);
        let threads = std::mem::take(&mut *self.shared.threads.lock().unwrap());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Ends the reading of whoever reads from a socket, and closes this descriptor of it.
#[expect(clippy::needless_pass_by_value, reason = "it is closed here")]
fn wake(socket: OwnedFd) {
    // An unconnected socket complains, and wakes all the same.
    let _ = shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Read);
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            // Its end is a reset, so that no client goes on by itself.
            let reset = nix::libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &reset).unwrap();
            self.note(stream.local_addr().unwrap());
            self.keep(stream.as_fd().try_clone_to_owned().unwrap());
            let shared = Arc::clone(self);
            self.run(move || shared.echo(stream));
        }
    }

    /// Takes the first datagrams of flows, and answers each from where it was to go.
    fn hear(self: &Arc<Self>, socket: &OwnedFd, host: &Host) {
        let mut payload = [0; 2048];
        loop {
            let mut control = nix::cmsg_space!(nix::libc::sockaddr_in6);
            let mut parts = [IoSliceMut::new(&mut payload)];
            let flags = MsgFlags::empty();
            let heard = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                flags,
            );
            let Ok(heard) = heard else { return };
            let Some(from) = heard.address.as_ref().and_then(address) else {
                return;
            };
            let wanted = heard.cmsgs().unwrap().find_map(|message| match message {
                ControlMessageOwned::Ipv4OrigDstAddr(to) => Some(
                    std::net::SocketAddrV4::from(nix::sys::socket::SockaddrIn::from(to)).into(),
                ),
                ControlMessageOwned::Ipv6OrigDstAddr(to) => Some(
                    std::net::SocketAddrV6::from(nix::sys::socket::SockaddrIn6::from(to)).into(),
                ),
                _ => None,
            });
            let wanted: SocketAddr = wanted.expect("the kernel tells the original destination");
            self.note(wanted);
            let flow: UdpSocket = host.enter(|| {
                let socket = transparent(wanted, SockType::Datagram);
                connect(socket.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
                socket.into()
            });
            flow.send(HERE.as_bytes()).unwrap();
            self.keep(flow.as_fd().try_clone_to_owned().unwrap());
            self.run(move || {
                let mut payload = [0; 2048];
                while flow.recv(&mut payload).is_ok_and(|count| count > 0) {
                    flow.send(HERE.as_bytes()).unwrap();
                }
            });
        }
    }

    fn echo(&self, mut stream: TcpStream) {
        let mut buffer = [0; 2048];
        let mut said = stream.write_all(HERE.as_bytes());
        while said.is_ok() {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => said = stream.write_all(&buffer[..count]),
                _ => break,
            }
        }
        if !self.killed.load(Ordering::SeqCst) {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn note(&self, wanted: SocketAddr) {
        self.wanted.lock().unwrap().push(wanted);
    }

    fn keep(&self, flow: OwnedFd) {
        self.flows.lock().unwrap().push(flow);
    }

    fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.threads.lock().unwrap().push(thread::spawn(work));
    }
}

/// A socket that may have any address, in the namespace of the calling thread.
fn transparent(at: SocketAddr, kind: SockType) -> OwnedFd {
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&socket, sockopt::IpTransparent, &true).unwrap();
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    setsockopt(&socket, sockopt::Mark, &Mark::BYPASS.value).unwrap();
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
    socket
}

fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of
        .as_sockaddr_in()
        .map(|a| std::net::SocketAddrV4::from(*a).into());
    v4.or_else(|| {
        of.as_sockaddr_in6()
            .map(|a| std::net::SocketAddrV6::from(*a).into())
    })
}
