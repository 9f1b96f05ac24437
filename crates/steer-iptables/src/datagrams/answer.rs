//! Packets to a client that no socket of the flow can send: ICMP errors, and datagrams from an
//! address whose port another socket of this host has.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};
use steer_core::address::Family;
use steer_core::datagram::Batch;
use steer_core::mark::Mark;
use steer_core::steered::Refusal;

use super::packet;
use crate::sockets;

/// Sends to clients from addresses of others, in one network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Answers(Arc<Vec<Raw>>);

/// The raw sockets of a family.
#[derive(Debug)]
struct Raw {
    family: Family,
    udp: OwnedFd,
    icmp: OwnedFd,
}

impl Answers {
    /// Opens the sockets in the namespace of the calling thread. Needs CAP_NET_RAW.
    pub(crate) fn open(families: &[Family], bypass: Mark) -> io::Result<Self> {
        let open = |family: &Family| {
            let (domain, icmp) = match family {
                Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
                Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
            };
            Ok(Raw {
                family: *family,
                udp: raw(domain, Protocol::UDP, bypass)?,
                icmp: raw(domain, icmp, bypass)?,
            })
        };
        let all = families.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(all)))
    }

    /// Sends a batch from `from`, whoever else has that address and port.
    ///
    /// What there is no room for is lost.
    pub(crate) fn send(&self, from: SocketAddr, to: SocketAddr, batch: &Batch) -> io::Result<()> {
        let raw = self.of(to)?;
        for datagram in batch.iter() {
            if let Some(packet) = packet::udp(from, to, datagram) {
                lossy(send(raw.udp.as_fd(), from, to, &packet))?;
            }
        }
        Ok(())
    }

    /// Tells the client by ICMP that a datagram of its to `destination`, which begins with `quote`,
    /// went nowhere.
    pub(crate) fn refuse(
        &self,
        client: SocketAddr,
        destination: SocketAddr,
        why: Refusal,
        quote: &[u8],
    ) {
        let sent = self.of(client).and_then(|raw| {
            match packet::unreachable(client, destination, why, quote) {
                Some(packet) => send(raw.icmp.as_fd(), destination, client, &packet),
                None => Ok(()),
            }
        });
        if let Err(error) = sent {
            tracing::debug!(%client, %error, "the client could not be told of a refusal");
        }
    }

    fn of(&self, client: SocketAddr) -> io::Result<&Raw> {
        let family = Family::of(client.ip());
        let of_family = self.0.iter().find(|raw| raw.family == family);
        of_family.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

/// A raw socket that may send from any address and gets nothing: it is bound to an address that no
/// packet has, or each packet of the host would be copied to it.
fn raw(domain: Domain, protocol: Protocol, bypass: Mark) -> io::Result<OwnedFd> {
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
    let nowhere = match domain {
        Domain::IPV4 => {
            socket.set_ip_transparent_v4(true)?;
            IpAddr::V4(DUMMY_V4)
        }
        _ => {
            socket.set_ip_transparent_v6(true)?;
            IpAddr::V6(DISCARD_V6)
        }
    };
    sockets::mark(&socket, bypass)?;
    socket.bind(&SocketAddr::new(nowhere, 0).into())?;
    Ok(socket.into())
}

/// Sends one packet from an address, which need not be this host's where the socket is transparent.
fn send(socket: BorrowedFd<'_>, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
    // The port of a raw socket's peer would be taken for a protocol.
    let to = SocketAddr::new(to.ip(), 0);
    send_from(socket, from.ip(), to, packet)
}

/// Sends one packet from an address that the socket need not be bound to.
pub(crate) fn send_from(
    socket: BorrowedFd<'_>,
    from: IpAddr,
    to: SocketAddr,
    packet: &[u8],
) -> io::Result<()> {
    let bytes = [IoSlice::new(packet)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match (from, to) {
        (IpAddr::V4(from), SocketAddr::V4(to)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let to = SockaddrIn::from(to);
            sendmsg(socket.as_raw_fd(), &bytes, &control, flags, Some(&to))?;
        }
        (IpAddr::V6(from), SocketAddr::V6(to)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            let to = SockaddrIn6::from(to);
            sendmsg(socket.as_raw_fd(), &bytes, &control, flags, Some(&to))?;
        }
        _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
    }
    Ok(())
}

/// A result with what concerns one datagram alone left out: no room, or too long for the way.
pub(crate) fn lossy(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EMSGSIZE | libc::EINTR)
            ) =>
        {
            Ok(())
        }
        sent => sent,
    }
}

/// The dummy address of RFC 7600, which is nobody's.
const DUMMY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// An address of the discard prefix of RFC 6666.
const DISCARD_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
