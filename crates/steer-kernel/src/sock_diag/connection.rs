//! The TCP connections of a network namespace, and their sudden end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use nix::errno::Errno;
use nix::libc;
use steer_core::address::canonical;

use super::{IDENTITY, INODE, SOCK_DIAG_BY_FAMILY, SockDiag};
use crate::netlink::message::{Body, number};

/// A TCP socket of a process: one that is connected, or listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The number by which descriptors know it (`socket:[N]` in `/proc/PID/fd`).
    pub inode: u32,
    /// Whether it takes connections, and has none itself.
    pub listens: bool,
    /// Whether the other end has not answered yet.
    pub opens: bool,
    family: u8,
    /// A `struct inet_diag_sockid`, with the socket's cookie.
    identity: Vec<u8>,
}

impl SockDiag {
    /// The TCP sockets of processes: connected ones, those that are about to be, and listeners.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tcp(&self) -> io::Result<Vec<Connection>> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).expect("address families are below 256");
            let found = socket.list(
                SOCK_DIAG_BY_FAMILY,
                &request(family, STATES, &NOBODY),
                |m| read(m.body),
            )?;
            all.extend(found);
        }
        Ok(all)
    }

    /// Ends a connection at once: its process is told that it was aborted, and the other end gets a
    /// reset. `false` where it has ended meanwhile.
    ///
    /// # Errors
    /// It needs CAP_NET_ADMIN; [`io::ErrorKind::Unsupported`] is a kernel without
    /// CONFIG_INET_DIAG_DESTROY (Linux 4.5).
    pub fn reset(&self, connection: &Connection) -> io::Result<bool> {
        let Connection {
            family, identity, ..
        } = connection;
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let done = socket.command(SOCK_DESTROY, 0, &request(*family, u32::MAX, identity));
        match done {
            Ok(()) => Ok(true),
            Err(refused) if refused.errno() == Some(Errno::ENOENT) => Ok(false),
            Err(refused) if refused.errno() == Some(Errno::EOPNOTSUPP) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

/// A `struct inet_diag_req_v2`.
fn request(family: u8, states: u32, identity: &[u8]) -> Body {
    let tcp = u8::try_from(libc::IPPROTO_TCP).expect("protocol numbers are below 256");
    let mut out = vec![family, tcp, 0, 0];
    out.extend(states.to_ne_bytes());
    out.extend(identity);
    Body::new(&out)
}

/// A `struct inet_diag_msg`; none of a socket that no process has any more.
fn read(answer: &[u8]) -> Option<Connection> {
    let (family, state) = (*answer.first()?, *answer.get(1)?);
    let identity = answer.get(IDENTITY..IDENTITY + NOBODY.len())?;
    let port = |at: usize| {
        Some(u16::from_be_bytes(
            identity.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let ip = |at: usize| {
        Some(match i32::from(family) {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(identity.get(at..at + 4)?).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(identity.get(at..at + 16)?).ok()?),
        })
    };
    let inode = answer.get(INODE..INODE + 4).map(number)?;
    (inode != 0).then_some(Connection {
        local: canonical(SocketAddr::new(ip(4)?, port(0)?)),
        peer: canonical(SocketAddr::new(ip(20)?, port(2)?)),
        inode,
        listens: state == LISTEN,
        opens: state == SYN_SENT,
        family,
        identity: identity.to_vec(),
    })
}

const SOCK_DESTROY: u16 = 21;
const NOBODY: [u8; 48] = [0; 48];
/// Numbers of states are those of `net/tcp_states.h`.
const LISTEN: u8 = 10;
const SYN_SENT: u8 = 2;
/// Established, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT and LISTEN.
const STATES: u32 = 1 << 1 | 1 << SYN_SENT | 1 << 4 | 1 << 5 | 1 << 8 | 1 << LISTEN;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use lab::{Need, require};

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u32 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap();
        let number = text.strip_prefix("socket:[").unwrap().trim_end_matches(']');
        number.parse().unwrap()
    }

    #[test]
    fn a_connection_is_listed_beside_its_listener_and_ends_when_it_is_reset() {
        if !require(&[Need::Root]) {
            return;
        }
        let diag = SockDiag::open().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let to = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(to).unwrap();
            let (_accepted, _) = listener.accept().unwrap();
            let all = diag.tcp().unwrap();
            let of = |inode: u32| all.iter().find(|c| c.inode == inode).unwrap().clone();
            assert!(of(inode(&listener)).listens);
            let found = of(inode(&client));
            assert_eq!(
                (found.local, found.peer),
                (client.local_addr().unwrap(), to)
            );
            assert!(!found.listens);
            assert!(diag.reset(&found).unwrap());
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert!(!diag.reset(&found).unwrap());
        }
    }
}
