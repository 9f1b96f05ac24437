//! Packets to a client that no socket of the flow can send: ICMP errors, and datagrams from an
//! address whose port another socket of this host has.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, sendmsg};

use super::{Batch, packet};
use crate::address::Family;
use crate::mark::Mark;
use crate::netns::{MakeSockets, SocketKind, SocketWish};
use crate::object::Binding;
use crate::steered::Refusal;

/// Sends to clients from addresses of others, in one network namespace.
#[derive(Clone, Debug)]
pub struct Answers(Arc<Vec<Raw>>);

/// The raw sockets of a family.
#[derive(Debug)]
struct Raw {
    family: Family,
    udp: OwnedFd,
    icmp: OwnedFd,
}

impl Answers {
    /// Has the raw sockets made that packets with this mark are sent by.
    ///
    /// # Errors
    /// They cannot be made: they need CAP_NET_RAW over their namespace.
    pub fn open(families: &[Family], mark: Mark, sockets: &dyn MakeSockets) -> io::Result<Self> {
        let raw = |family: Family, kind| {
            sockets.make(&SocketWish {
                family,
                kind,
                binding: Binding::Transparent,
                mark: Some(mark),
                bind: None,
            })
        };
        let open = |family: &Family| {
            Ok(Raw {
                family: *family,
                udp: raw(*family, SocketKind::RawUdp)?,
                icmp: raw(*family, SocketKind::RawIcmp)?,
            })
        };
        let all = families.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(all)))
    }

    /// Sends a batch from `from`, whoever else has that address and port.
    ///
    /// What there is no room for is lost.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, batch: &Batch) -> io::Result<()> {
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
    pub fn refuse(&self, client: SocketAddr, destination: SocketAddr, why: Refusal, quote: &[u8]) {
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

/// Sends one packet from an address, which need not be this host's where the socket is transparent.
fn send(socket: BorrowedFd<'_>, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
    // The port of a raw socket's peer would be taken for a protocol.
    let to = SocketAddr::new(to.ip(), 0);
    send_from(socket, from.ip(), to, packet)
}

/// Sends one packet from an address that the socket need not be bound to.
///
/// # Errors
/// What the kernel says, or that the two addresses are of different families.
pub fn send_from(
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
///
/// # Errors
/// All others.
pub fn lossy(sent: io::Result<()>) -> io::Result<()> {
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
