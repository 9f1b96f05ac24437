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
            .look_up(SOCK_DIAG_BY_FAMILY, &request(local, peer), |answer| {
                known(answer.body, local, peer)
            });
        match told {
            Ok(known) => Ok(known),
            Err(refused) if refused.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// A `struct inet_diag_req_v2` of `linux/inet_diag.h`.
fn request(local: SocketAddr, peer: SocketAddr) -> Body {
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut out = Vec::with_capacity(REQUEST);
    out.push(u8::try_from(family).expect("address families are below 256"));
    out.push(u8::try_from(libc::IPPROTO_TCP).expect("protocol numbers are below 256"));
    out.extend([0; 2]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(identity(local, peer));
    out.extend(0_u32.to_ne_bytes());
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

const REQUEST: usize = 56;
const IDENTITY: usize = 4;
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
