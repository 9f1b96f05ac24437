//! Raw sockets for ICMP (raw(7)).

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6, SockaddrStorage, recvfrom, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use steer_core::address::Family;
use steer_core::mark::Mark;

use crate::packet::checksum;

/// A raw socket, which has no other use.
pub(super) type Socket = Arc<OwnedFd>;

/// The sockets that destinations are asked by, one a family.
#[derive(Clone, Debug)]
pub struct RawSockets(Vec<(Family, Socket)>);

impl RawSockets {
    /// Makes them in the network namespace of the calling thread, so that their packets carry
    /// `mark`. A family that the host has not is left out.
    ///
    /// # Errors
    /// What the kernel says: they need CAP_NET_RAW, and the mark CAP_NET_ADMIN.
    pub fn open(mark: Mark) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for family in Family::ALL {
            match open(family, mark) {
                Ok(socket) => sockets.push((family, Arc::new(socket))),
                Err(Errno::EAFNOSUPPORT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(sockets))
    }

    pub(super) fn of(&self, family: Family) -> Option<Socket> {
        let found = self.0.iter().find(|(of, _)| *of == family);
        found.map(|(_, socket)| Arc::clone(socket))
    }
}

fn open(family: Family, mark: Mark) -> nix::Result<OwnedFd> {
    let (family, protocol) = match family {
        Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
        Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, sockopt::Mark, &mark.value)?;
    // Whoever waits for it looks now and then whether anybody still forwards.
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(WAIT),
    )?;
    Ok(socket)
}

/// Sends an ICMP message that may make so many hops.
pub(super) fn send(socket: &Socket, to: IpAddr, hops: u8, message: &[u8]) -> io::Result<()> {
    let bytes = [IoSlice::new(message)];
    let hops = c_int::from(hops);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let fd = socket.as_fd().as_raw_fd();
    match to {
        IpAddr::V4(to) => {
            let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
            sendmsg(
                fd,
                &bytes,
                &[ControlMessage::Ipv4Ttl(&hops)],
                flags,
                Some(&to),
            )?;
        }
        IpAddr::V6(to) => {
            let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
            sendmsg(
                fd,
                &bytes,
                &[ControlMessage::Ipv6HopLimit(&hops)],
                flags,
                Some(&to),
            )?;
        }
    }
    Ok(())
}

/// Waits a while for a message, and says who sent it.
pub(super) fn receive<'a>(
    socket: &Socket,
    family: Family,
    room: &'a mut [u8],
) -> io::Result<Option<(IpAddr, &'a [u8])>> {
    let received = recvfrom::<SockaddrStorage>(socket.as_fd().as_raw_fd(), room);
    let (length, from) = match received {
        Ok(received) => received,
        // Errors of what was sent are told by whoever sends, or by ICMP.
        Err(
            Errno::EAGAIN
            | Errno::EINTR
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ECONNREFUSED
            | Errno::EACCES
            | Errno::EPROTO
            | Errno::EMSGSIZE
            | Errno::ENOBUFS
            | Errno::ENETDOWN
            | Errno::EHOSTDOWN,
        ) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(from) = from.as_ref().and_then(address) else {
        return Ok(None);
    };
    let whole = &room[..length];
    Ok(match family {
        // A raw socket of IPv4 gets the header too, and what the kernel has not verified.
        Family::V4 => {
            let header = whole
                .first()
                .map_or(0, |first| usize::from(first & 0xf) * 4);
            let message = whole.get(header..).unwrap_or_default();
            let right = checksum::fold(checksum::sum(message)) == 0xffff;
            right.then_some((from, message))
        }
        Family::V6 => Some((from, whole)),
    })
}

fn address(of: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = of
        .as_sockaddr_in()
        .map(|v4| SocketAddr::from(SocketAddrV4::from(*v4)));
    let v6 = of
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::from(SocketAddrV6::from(*v6)));
    v4.or(v6).map(|address| address.ip())
}

/// Longer than any packet.
pub(super) const LONGEST: usize = 65_600;

/// How long a wait takes, in milliseconds.
const WAIT: i64 = 500;
