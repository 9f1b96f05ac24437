//! A UDP echo server that says which of its addresses was dialled.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::family::Family;
use crate::host::Host;
use crate::watched::Watched;

/// One datagram as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The address that it came from.
    pub peer: SocketAddr,
    /// The address that it was sent to.
    pub local: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A UDP server of both families, from [`Host::serve_udp`], that echoes each datagram from the address dialled.
#[derive(Debug)]
pub struct UdpServer {
    port: u16,
    seen: Arc<Watched<Vec<Datagram>>>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    pub(crate) fn start(host: &Host, port: u16) -> Self {
        let sockets = host.enter(|| {
            let first = bind(Family::V4, port)?;
            let port = first.local_addr()?.port();
            Ok::<_, io::Error>((port, [first, bind(Family::V6, port)?]))
        });
        let (port, sockets) = sockets.unwrap_or_else(|error| panic!("UDP port {port}: {error}"));
        let seen = Arc::new(Watched::default());
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let noted = Arc::clone(&seen);
        let thread = thread::spawn(move || serve(&sockets, port, &stopped, &noted));
        Self {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All datagrams so far.
    pub fn seen(&self) -> Vec<Datagram> {
        self.seen.read(Clone::clone)
    }

    /// Waits until what was seen satisfies the condition, and gives it.
    pub fn wait_for(&self, wanted: impl Fn(&[Datagram]) -> bool) -> Vec<Datagram> {
        self.seen.expect("what the server should see", |seen| {
            wanted(seen).then(|| seen.clone())
        })
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(family: Family, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(family.any(), port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    match family {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        Family::V6 => {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn serve(sockets: &[UdpSocket; 2], port: u16, stopped: &UnixStream, seen: &Watched<Vec<Datagram>>) {
    loop {
        let fds = [sockets[0].as_fd(), sockets[1].as_fd(), stopped.as_fd()];
        let mut ready = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut ready, PollTimeout::NONE).is_err() {
            continue;
        }
        if ready[2].any() == Some(true) {
            return;
        }
        for (socket, ready) in sockets.iter().zip(&ready) {
            if ready.any() == Some(true) {
                // An ICMP error for an earlier answer shows up here; the next datagram comes anyway.
                let _ = answer(socket, port, seen);
            }
        }
    }
}

fn answer(socket: &UdpSocket, port: u16, seen: &Watched<Vec<Datagram>>) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let Some(from) = message.address else {
        return Ok(());
    };
    let Some(ip) = message.cmsgs()?.find_map(|it| dialled(&it)) else {
        return Ok(());
    };
    let count = message.bytes;
    let payload = buffer[..count].to_vec();
    let peer = from
        .as_sockaddr_in()
        .map(|it| SocketAddr::from(std::net::SocketAddrV4::from(*it)));
    let peer = peer.or_else(|| {
        from.as_sockaddr_in6()
            .map(|it| std::net::SocketAddrV6::from(*it).into())
    });
    let Some(peer) = peer else { return Ok(()) };
    seen.update(|seen| {
        seen.push(Datagram {
            peer,
            local: SocketAddr::new(ip, port),
            payload: payload.clone(),
        })
    });
    let data = [IoSlice::new(&payload)];
    let send = |control| {
        sendmsg(
            socket.as_raw_fd(),
            &data,
            &[control],
            MsgFlags::empty(),
            Some(&from),
        )
    };
    match ip {
        IpAddr::V4(ip) => {
            let source = libc::in_addr {
                s_addr: u32::from(ip).to_be(),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: source,
                ipi_addr: source,
            };
            send(ControlMessage::Ipv4PacketInfo(&info))?;
        }
        IpAddr::V6(ip) => {
            let source = libc::in6_addr {
                s6_addr: ip.octets(),
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: source,
                ipi6_ifindex: 0,
            };
            send(ControlMessage::Ipv6PacketInfo(&info))?;
        }
    }
    Ok(())
}

/// The destination address in the datagram's packet information.
fn dialled(message: &ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}
