//! Sockets made in a namespace on behalf of a process that is outside.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::Inside;
use crate::address::Family;
use crate::mark::Mark;
use crate::object::Binding;

/// Makes sockets in a namespace that this process cannot enter.
///
/// A socket stays in the namespace in which it was made: whoever gets one may connect it from
/// anywhere.
pub trait MakeSockets: fmt::Debug + Send + Sync {
    /// A socket as asked for, nonblocking and close-on-exec.
    ///
    /// # Errors
    /// What the kernel says, or that the other side is gone.
    fn make(&self, wanted: &SocketWish) -> io::Result<OwnedFd>;
}

/// What a socket shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketWish {
    /// The family.
    pub family: Family,
    /// What goes through it.
    pub kind: SocketKind,
    /// Whose address it may have ([`Binding::Control`] is none of these).
    pub binding: Binding,
    /// What its packets carry.
    pub mark: Option<Mark>,
    /// The address that it is bound to, which others may have as well: SO_REUSEADDR, or for
    /// [`Binding::Lo`] SO_REUSEPORT, which is for sockets of the same user alone. A raw socket has
    /// none: it sends and gets nothing.
    pub bind: Option<SocketAddr>,
}

/// What goes through a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    /// A TCP connection.
    Stream,
    /// Datagrams.
    Datagram,
    /// UDP with its header, whoever has the port (raw(7)).
    RawUdp,
    /// ICMP, or ICMPv6 (raw(7)).
    RawIcmp,
    /// Questions about sockets (sock_diag(7)), whatever the family; blocking, unbound and unmarked.
    Diag,
    /// The packet filter (nf_tables), as [`SocketKind::Diag`].
    Filter,
    /// Interfaces, addresses and routes (rtnetlink(7)), as [`SocketKind::Diag`].
    Route,
}

impl SocketWish {
    /// Makes the socket in the namespace of the calling thread.
    ///
    /// ```
    /// use steer_core::address::Family;
    /// use steer_core::netns::{SocketKind, SocketWish};
    /// use steer_core::object::Binding;
    ///
    /// let wish = SocketWish {
    ///     family: Family::V4,
    ///     kind: SocketKind::Datagram,
    ///     binding: Binding::Own,
    ///     mark: None,
    ///     bind: Some("127.0.0.1:0".parse().unwrap()),
    /// };
    /// let socket: std::net::UdpSocket = wish.open()?.into();
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says: marks and foreign addresses need CAP_NET_ADMIN, raw sockets CAP_NET_RAW,
    /// each over the network namespace.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let Self {
            family,
            kind,
            binding,
            mark,
            bind,
        } = self;
        let netlink = match kind {
            SocketKind::Diag => Some(SockProtocol::NetlinkSockDiag),
            SocketKind::Filter => Some(SockProtocol::NetlinkNetFilter),
            SocketKind::Route => Some(SockProtocol::NetlinkRoute),
            _ => None,
        };
        if let Some(protocol) = netlink {
            let (of, how) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
            return Ok(socket(of, SockType::Raw, how, protocol)?);
        }
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let (kind, protocol) = match (kind, family) {
            (SocketKind::Stream, _) => (Type::STREAM, None),
            (
                SocketKind::Datagram | SocketKind::Diag | SocketKind::Filter | SocketKind::Route,
                _,
            ) => (Type::DGRAM, None),
            (SocketKind::RawUdp, _) => (Type::RAW, Some(Protocol::UDP)),
            (SocketKind::RawIcmp, Family::V4) => (Type::RAW, Some(Protocol::ICMPV4)),
            (SocketKind::RawIcmp, Family::V6) => (Type::RAW, Some(Protocol::ICMPV6)),
        };
        let socket = Socket::new(domain, kind.nonblocking().cloexec(), protocol)?;
        if *family == Family::V6 && kind != Type::RAW {
            socket.set_only_v6(true)?;
        }
        if *binding == Binding::Transparent {
            // One flag of the socket, whose option has a name in both families; an IPv6 socket
            // takes the one of IPv4 (`ipv6_setsockopt` of net/ipv6/ipv6_sockglue.c), a raw one its
            // own alone.
            match (kind, family) {
                (Type::RAW, Family::V6) => socket.set_ip_transparent_v6(true)?,
                _ => setsockopt(&socket, sockopt::IpTransparent, &true)?,
            }
        }
        if *binding == Binding::Lo && kind != Type::RAW {
            socket.bind_device(Some(b"lo"))?;
            // An address of a local route is of no interface (`__inet6_bind` of
            // net/ipv6/af_inet6.c).
            setsockopt(&socket, sockopt::IpFreebind, &true)?;
        }
        if let Some(mark) = mark {
            socket.set_mark(mark.value)?;
        }
        if kind == Type::RAW {
            // Each packet of the host would be copied to it otherwise.
            socket.bind(&SocketAddr::new(nobody(*family), 0).into())?;
        } else if let Some(address) = bind {
            match binding {
                // Shared with our own listener, and with nobody of another user.
                Binding::Lo => socket.set_reuse_port(true)?,
                _ => socket.set_reuse_address(true)?,
            }
            socket.bind(&(*address).into())?;
        }
        Ok(socket.into())
    }
}

impl MakeSockets for Inside {
    fn make(&self, wanted: &SocketWish) -> io::Result<OwnedFd> {
        let wanted = wanted.clone();
        self.run(move || wanted.open())?
    }
}

/// An address that no packet has.
const fn nobody(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(DUMMY_V4),
        Family::V6 => IpAddr::V6(DISCARD_V6),
    }
}

/// The dummy address of RFC 7600, which is nobody's.
const DUMMY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// An address of the discard prefix of RFC 6666.
const DISCARD_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
