//! Opening the sockets of a listener.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockFilter, Socket, TcpKeepalive, Type};

use crate::address::{Family, Protocol};
use crate::intake::Sockets;
use crate::keeper::EngageError;
use crate::netns;
use crate::object::{Binding, Listener};
use crate::plan::Netns;

/// Opens one socket an address, all with the same port, in the namespace of the listener.
pub(crate) fn open(listener: &Listener, place: &Netns) -> Result<(u16, Sockets), EngageError> {
    let elsewhere = |source| EngageError::of_netns(place, source);
    let namespace: Option<File> = netns::open(place).map_err(elsewhere)?;
    netns::within(namespace, || listen(listener)).map_err(elsewhere)?
}

/// Opens one socket an address, all with the same port, in the namespace of the calling thread.
///
/// # Errors
/// A port is taken, or the kernel has no such sockets.
pub fn listen(listener: &Listener) -> Result<(u16, Sockets), EngageError> {
    if listener.binding == Binding::Control {
        let socket = control().map_err(|source| EngageError::Control {
            id: listener.id.to_string(),
            source,
        })?;
        return Ok((0, Sockets::Control(socket)));
    }
    let mut last = None;
    for _ in 0..PORT_TRIES {
        match listen_once(listener) {
            Ok(done) => return Ok(done),
            Err((address, source)) => {
                // The kernel chose the first address's port; the second may have it in use.
                let retry = listener.port.is_none() && source.kind() == io::ErrorKind::AddrInUse;
                last = Some(EngageError::Listen {
                    id: listener.id.to_string(),
                    address,
                    source,
                });
                if !retry {
                    break;
                }
            }
        }
    }
    Err(last.expect("a listener is tried at least once"))
}

/// A control listener under a name that nobody can take beforehand. It can be read in
/// /proc/net/unix, so that whoever connects has to ask who answers.
fn control() -> io::Result<UnixListener> {
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut name = String::from("steer-control-");
    for byte in random {
        name.push_str(&format!("{byte:02x}"));
    }
    let listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The name of a control listener in the abstract namespace.
pub(crate) fn control_name(listener: &UnixListener) -> Result<String, EngageError> {
    let unnamed = |source| EngageError::Control {
        id: "control".to_owned(),
        source,
    };
    let address = listener.local_addr().map_err(unnamed)?;
    let name = address.as_abstract_name().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn listen_once(listener: &Listener) -> Result<(u16, Sockets), (SocketAddr, io::Error)> {
    let mut port = listener.port.unwrap_or(0);
    if let (0, Some(ip)) = (port, listener.addresses.first()) {
        // A port that the kernel gives to a bind is lost when the socket stops listening; one that
        // was asked for by number stays until the socket is closed, which keepers rely on.
        let address = match listener.binding {
            // Nobody has it before the device is there.
            Binding::Device => SocketAddr::new(Family::of(*ip).unspecified(), 0),
            _ => SocketAddr::new(*ip, 0),
        };
        port = free_port(address, listener.protocol).map_err(|e| (address, e))?;
    }
    let at = |ip: &std::net::IpAddr| SocketAddr::new(*ip, port);
    let each = |address: SocketAddr| move |error| (address, error);
    let addresses = listener.addresses.iter().map(at);
    let sockets = match listener.protocol {
        Protocol::Tcp => Sockets::Tcp(
            addresses
                .map(|a| stream(a, listener.binding).map_err(each(a)))
                .collect::<Result<_, _>>()?,
        ),
        Protocol::Udp => Sockets::Udp(
            addresses
                .map(|a| datagram(a, listener.binding).map_err(each(a)))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok((port, sockets))
}

fn free_port(address: SocketAddr, protocol: Protocol) -> io::Result<u16> {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address)?.local_addr(),
        Protocol::Udp => UdpSocket::bind(address)?.local_addr(),
    };
    Ok(bound?.port())
}

fn stream(address: SocketAddr, binding: Binding) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, binding)?;
    // A restart must not wait for TIME_WAIT of connections that the last run closed first.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: a process killed before it accepted resets its clients too.
    socket.set_linger(Some(Duration::ZERO))?;
    // Inherited as well. conntrack forgets a half-closed connection that is silent for a minute;
    // what its client sends then would no longer be rewritten and go in clear.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Inherited too: a relay has nothing to gain from holding small segments back.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn datagram(address: SocketAddr, binding: Binding) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, binding)?;
    match Family::of(address.ip()) {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?,
        Family::V6 => setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?,
    }
    // Datagrams of every flow wait here until the engine takes them; what does not fit is lost.
    // `net.core.rmem_max` caps it.
    socket.set_recv_buffer_size(DATAGRAM_ROOM)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, binding: Binding) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match binding {
        Binding::Own | Binding::Control => {}
        // One flag of the socket each, whose option has a name in both families; an IPv6 socket takes
        // the one of IPv4 (`ipv6_setsockopt` of net/ipv6/ipv6_sockglue.c).
        Binding::Lo => {
            setsockopt(&socket, sockopt::IpFreebind, &true)?;
            socket.attach_filter(&FROM_LO)?;
        }
        Binding::Device => setsockopt(&socket, sockopt::IpFreebind, &true)?,
        Binding::Transparent => setsockopt(&socket, sockopt::IpTransparent, &true)?,
    }
    Ok(socket)
}

/// A packet filter of a socket (classic BPF, socket(7)): what did not come by `lo`, the interface 1 of
/// every namespace, is dropped before it reaches the socket. What is accepted has it, too.
///
/// A socket bound to the device would not be found by the hooks, which look for it from no interface.
const FROM_LO: [SockFilter; 4] = [
    // Load the word at SKF_AD_OFF + SKF_AD_IFINDEX: the interface.
    SockFilter::new(0x20, 0, 0, 0xffff_f008),
    // Go on if it is 1, else skip one.
    SockFilter::new(0x15, 0, 1, 1),
    // Take all of the packet.
    SockFilter::new(0x06, 0, 0, u32::MAX),
    // Drop it.
    SockFilter::new(0x06, 0, 0, 0),
];

/// As long as the kernel lets it be; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Less than `nf_conntrack_tcp_timeout_close_wait`, the shortest after which conntrack forgets.
const KEEPALIVE: Duration = Duration::from_secs(45);

/// Room for datagrams that wait, in bytes.
const DATAGRAM_ROOM: usize = 4 << 20;

/// How often a port is sought that is free on every address.
const PORT_TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;
    use crate::method::Method;
    use crate::symbol::ListenerId;

    fn listener(protocol: Protocol, binding: Binding) -> Listener {
        Listener {
            id: ListenerId("outbound".to_owned()),
            method: Method::Redirect,
            protocol,
            addresses: Family::ALL.map(Family::loopback).to_vec(),
            port: None,
            to: None,
            binding,
            app: None,
        }
    }

    #[test]
    fn a_port_that_the_kernel_chose_is_taken_until_the_socket_is_closed() {
        let (_, sockets) = listen(&listener(Protocol::Tcp, Binding::Own)).unwrap();
        for socket in sockets.streams().unwrap() {
            let at = socket.local_addr().unwrap();
            // As a keeper does it after the engine's death.
            let held = SockRef::from(&socket);
            held.set_reuse_address(false).unwrap();
            held.shutdown(std::net::Shutdown::Both).unwrap();
            let refused = TcpStream::connect(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{at}");
            let taken = TcpListener::bind(at).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{at}");
        }
    }

    #[test]
    fn listeners_share_a_port_and_their_connections_are_reset_and_kept_alive() {
        let (port, sockets) = listen(&listener(Protocol::Tcp, Binding::Own)).unwrap();
        for socket in sockets.streams().unwrap() {
            let at = socket.local_addr().unwrap();
            assert_eq!(at.port(), port);
            socket.set_nonblocking(false).unwrap();
            let _client = TcpStream::connect(at).unwrap();
            let (accepted, _) = socket.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.linger().unwrap(), Some(Duration::ZERO));
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE);
        }
    }

    #[test]
    fn a_listener_for_this_host_hears_nobody_else() {
        use lab::{Family as At, Lab};
        lab::require!(Root);
        let lab = Lab::new("lo");
        let (here, there) = (lab.host("here"), lab.host("there"));
        lab.link(&here, &there);
        let mut wanted = listener(Protocol::Tcp, Binding::Lo);
        wanted.addresses = vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()];
        let (port, sockets) = here.enter(|| listen(&wanted)).unwrap();
        for family in [At::V4, At::V6] {
            let at = here.at(family, port);
            let patience = Duration::from_millis(300);
            let elsewhere = there.enter(|| TcpStream::connect_timeout(&at, patience));
            assert_eq!(
                elsewhere.unwrap_err().kind(),
                io::ErrorKind::TimedOut,
                "{at}"
            );
            // This host's own address is reached by `lo` from here.
            here.enter(|| TcpStream::connect(at)).unwrap();
        }
        drop(sockets);
        for family in [At::V4, At::V6] {
            let at = here.at(family, port);
            let gone = there.enter(|| TcpStream::connect(at)).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused, "{at}");
        }
    }

    #[test]
    fn a_transparent_socket_is_one_in_both_families_and_for_both_protocols() {
        use nix::sys::socket::getsockopt;
        lab::require!(Root);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (port, sockets) = listen(&listener(protocol, Binding::Transparent)).unwrap();
            assert_eq!(sockets.addresses().unwrap().len(), 2);
            for address in sockets.addresses().unwrap() {
                assert_eq!(address.port(), port);
            }
            let transparent = |socket: &dyn std::os::fd::AsFd| {
                getsockopt(&socket.as_fd(), sockopt::IpTransparent).unwrap()
            };
            match sockets {
                Sockets::Tcp(all) => assert!(all.iter().all(|s| transparent(s))),
                Sockets::Udp(all) => assert!(all.iter().all(|s| transparent(s))),
                Sockets::Control(_) => panic!("not of the network"),
            }
        }
    }
}
