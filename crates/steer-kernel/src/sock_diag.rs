//! Who owns a socket, by the kernel's sock_diag (man 7 sock_diag).

mod connection;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use steer_core::address::canonical;

pub use connection::Connection;

use crate::netlink::Netlink;
use crate::netlink::message::{Body, number};

/// A connection to the kernel's socket tables, of the namespace in which it was opened.
///
/// A lookup is two system calls and no search: the kernel finds the socket by its hash.
#[derive(Debug)]
pub struct SockDiag {
    // One request at a time: an answer belongs to the request before it.
    socket: Mutex<Netlink>,
}

impl SockDiag {
    /// Opens the connection; needs no privilege.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Mutex::new(Netlink::open(SockProtocol::NetlinkSockDiag)?),
        })
    }

    /// Asks through a socket of another namespace (`SocketKind::Diag` of `steer_core::netns`).
    pub fn over(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Mutex::new(Netlink::over(socket)?),
        })
    }

    /// The user id of the TCP socket that is connected from `local` to `peer`; `None` where there
    /// is none.
    ///
    /// Both ends are compared, so that a client port that NAT has rewritten gives no owner rather
    /// than a wrong one. A socket that its process has closed while the connection lingers on (as
    /// `FIN_WAIT2` or `TIME_WAIT`) has no owner either: the kernel says 0, which is not to be taken for
    /// root.
    pub fn tcp_owner(&self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
        Ok(self.tcp_known(local, peer)?.map(|known| known.uid))
    }

    /// The number by which descriptors know the TCP socket that is connected from `local` to `peer`
    /// (`socket:[N]` in `/proc/PID/fd`); `None` as for [`Self::tcp_owner`].
    pub fn tcp_inode(&self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
        Ok(self.tcp_known(local, peer)?.map(|known| known.inode))
    }

    fn tcp_known(&self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Known>> {
        let (local, peer) = (canonical(local), canonical(peer));
        let told = self
            .socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look_up(
                SOCK_DIAG_BY_FAMILY,
                &request(libc::IPPROTO_TCP, local, peer, 0),
                |answer| known(answer.body, local, peer),
            );
        match told {
            Ok(known) => Ok(known),
            Err(refused) if refused.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The cookie (SO_COOKIE) of the UDP socket that gets what `from` sends to `to` over the
    /// loopback device; `None` where there is none.
    pub fn udp_receiver(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Option<u64>> {
        let (from, to) = (canonical(from), canonical(to));
        let told = self
            .socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look_up(
                SOCK_DIAG_BY_FAMILY,
                // The ends are as in the packet here (`udp_dump_one` of net/ipv4/udp_diag.c).
                &request(libc::IPPROTO_UDP, from, to, LOOPBACK),
                |answer| answer.body.get(COOKIE..COOKIE + 8).map(cookie),
            );
        match told {
            Ok(cookie) => Ok(cookie),
            Err(refused) if refused.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Whether the UDP socket of a cookie is bound to an address, and nobody of another user has that
    /// address as well.
    ///
    /// Of a group that shares an address (SO_REUSEPORT) each may have sent from there, while
    /// [`Self::udp_receiver`] tells one of them.
    pub fn udp_shares(&self, cookie: u64, at: SocketAddr) -> io::Result<bool> {
        let at = canonical(at);
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        // A socket of IPv6 may have addresses of IPv4.
        for family in [libc::AF_INET, libc::AF_INET6] {
            let request = dump_of(family, at.port());
            all.extend(socket.list(SOCK_DIAG_BY_FAMILY, &request, |m| Sharing::read(m.body))?);
        }
        all.retain(|sharing| sharing.local.port() == at.port() && sharing.has(at.ip()));
        let user = all.iter().find(|sharing| sharing.cookie == cookie);
        Ok(user.is_some_and(|it| all.iter().all(|other| other.uid == it.uid)))
    }
}

/// A UDP socket of a list.
struct Sharing {
    local: SocketAddr,
    cookie: u64,
    uid: u32,
}

impl Sharing {
    /// That of a `struct inet_diag_msg`.
    fn read(answer: &[u8]) -> Option<Self> {
        let port = answer.get(IDENTITY..IDENTITY + 2)?.try_into().ok()?;
        let ip = answer.get(IDENTITY + 4..IDENTITY + 20)?;
        let ip = match i32::from(*answer.first()?) {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(&ip[..4]).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        };
        Some(Self {
            local: canonical(SocketAddr::new(ip, u16::from_be_bytes(port))),
            cookie: answer.get(COOKIE..COOKIE + 8).map(cookie)?,
            uid: answer.get(UID..UID + 4).map(number)?,
        })
    }

    /// Whether it gets what is sent to an address.
    fn has(&self, ip: IpAddr) -> bool {
        let own = self.local.ip();
        own == ip || own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4())
    }
}

/// The request for all UDP sockets of a family with this port.
fn dump_of(family: i32, port: u16) -> Body {
    let any = match family {
        libc::AF_INET => IpAddr::from([0; 4]),
        _ => IpAddr::from([0; 16]),
    };
    let none = SocketAddr::new(any, 0);
    request(libc::IPPROTO_UDP, SocketAddr::new(any, port), none, 0)
}

/// A `struct inet_diag_req_v2` of `linux/inet_diag.h`.
fn request(protocol: i32, local: SocketAddr, peer: SocketAddr, interface: u32) -> Body {
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut out = Vec::with_capacity(REQUEST);
    out.push(u8::try_from(family).expect("address families are below 256"));
    out.push(u8::try_from(protocol).expect("protocol numbers are below 256"));
    out.extend([0; 2]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(identity(local, peer));
    out.extend(interface.to_ne_bytes());
    out.extend([0xff; 8]);
    Body::new(&out)
}

/// The ports and addresses of a `struct inet_diag_sockid`.
fn identity(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(36);
    out.extend(local.port().to_be_bytes());
    out.extend(peer.port().to_be_bytes());
    for end in [local, peer] {
        match end.ip() {
            IpAddr::V4(ip) => {
                out.extend(ip.octets());
                out.extend([0; 12]);
            }
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
    }
    out
}

/// The same address as an IPv6 socket has it.
fn mapped(end: SocketAddr) -> SocketAddr {
    match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    }
}

/// Whose a connection is.
struct Known {
    uid: u32,
    inode: u32,
}

/// What a `struct inet_diag_msg` tells, if it is of this connection.
fn known(answer: &[u8], local: SocketAddr, peer: SocketAddr) -> Option<Known> {
    let word = |at: usize| answer.get(at..at + 4).map(number);
    // The kernel answers with a listener where no connection matches.
    let told = answer.get(IDENTITY..IDENTITY + 36);
    let same = told == Some(&identity(local, peer)[..])
        // What an IPv6 socket that speaks IPv4 is called, as those of Java are.
        || told == Some(&identity(mapped(local), mapped(peer))[..]);
    // Only what is still open has an inode; the user of anything else is forgotten.
    let inode = word(INODE).filter(|inode| same && *inode != 0)?;
    Some(Known {
        uid: word(UID)?,
        inode,
    })
}

/// Two words, the lower one first.
fn cookie(bytes: &[u8]) -> u64 {
    u64::from(number(&bytes[..4])) | u64::from(number(&bytes[4..])) << 32
}

const REQUEST: usize = 56;
const IDENTITY: usize = 4;
const COOKIE: usize = 44;
/// The index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;
const UID: usize = 64;
const INODE: usize = 68;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_told_and_a_listener_is_not_taken_for_it() {
        let diag = SockDiag::open().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let from = client.local_addr().unwrap();
            let me = nix::unistd::geteuid().as_raw();
            assert_eq!(diag.tcp_owner(from, to).unwrap(), Some(me), "{address}");
            let fd = std::os::fd::AsRawFd::as_raw_fd(&client);
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            let inode = diag.tcp_inode(from, to).unwrap().unwrap();
            assert_eq!(link.to_str(), Some(&*format!("socket:[{inode}]")));
            let stranger = SocketAddr::new(from.ip(), 1);
            assert_eq!(diag.tcp_owner(to, stranger).unwrap(), None, "{address}");
        }
    }

    #[test]
    fn a_socket_of_ipv6_that_speaks_ipv4_has_an_owner_too() {
        let diag = SockDiag::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let client = TcpStream::connect(mapped(to)).unwrap();
        assert!(client.local_addr().unwrap().is_ipv6());
        let from = canonical(client.local_addr().unwrap());
        let me = nix::unistd::geteuid().as_raw();
        assert_eq!(diag.tcp_owner(from, to).unwrap(), Some(me));
    }

    #[test]
    fn the_socket_that_gets_a_datagram_is_told_by_its_cookie() {
        use std::net::UdpSocket;

        let diag = SockDiag::open().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = (
                UdpSocket::bind(address).unwrap(),
                UdpSocket::bind(address).unwrap(),
            );
            let to = client.local_addr().unwrap();
            client.connect(server.local_addr().unwrap()).unwrap();
            let from = server.local_addr().unwrap();
            let cookie = socket2::SockRef::from(&client).cookie().unwrap();
            assert_eq!(diag.udp_receiver(from, to).unwrap(), Some(cookie));
            let stranger = SocketAddr::new(from.ip(), 1);
            assert_eq!(diag.udp_receiver(stranger, to).unwrap(), None, "{address}");
        }
    }

    #[test]
    fn every_socket_of_a_group_shares_its_address_and_no_other_does() {
        use socket2::{Domain, Socket, Type};

        let diag = SockDiag::open().unwrap();
        for any in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let any: SocketAddr = any.parse().unwrap();
            let bound = |at: SocketAddr| {
                let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None).unwrap();
                socket.set_reuse_port(true).unwrap();
                socket.bind(&at.into()).unwrap();
                socket
            };
            let one = bound(any);
            let at = one.local_addr().unwrap().as_socket().unwrap();
            let (other, stranger) = (bound(at), bound(any));
            let loopback = match any {
                SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            let from = SocketAddr::new(loopback, at.port());
            let shares = |socket: &Socket| diag.udp_shares(socket.cookie().unwrap(), from).unwrap();
            assert!(shares(&one) && shares(&other), "{any}");
            assert!(!shares(&stranger), "{any}");
        }
    }

    #[test]
    fn a_client_that_has_closed_has_no_owner_rather_than_root() {
        let diag = SockDiag::open().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let from = client.local_addr().unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            drop(client);
            // Its FIN has come: the connection is half closed and has no process on its side.
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
            assert_eq!(diag.tcp_owner(from, to).unwrap(), None, "{address}");
            drop(accepted);
            // Closed both ways, it waits out its time.
            assert_eq!(diag.tcp_owner(from, to).unwrap(), None, "{address}");
        }
    }
}
