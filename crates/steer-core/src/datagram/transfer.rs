//! Batches through the kernel: recvmmsg, sendmmsg, segmentation offload.
use std::array;
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
    SockaddrStorage, recvmmsg, recvmsg, sendmmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Batch;
use super::batch::STRIDE;

thread_local! {
    /// The headers of calls without addresses and control messages, made once a thread: no call
    /// allocates, and no flow that waits holds any.
    static HEADERS: RefCell<MultiHeaders<()>> =
        RefCell::new(MultiHeaders::preallocate(Batch::MOST, None));
}

/// Appends at most `most` datagrams of a connected socket; returns how many came, one at least.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    batch: &mut Batch,
    most: usize,
) -> nix::Result<usize> {
    let mut lengths = [0; Batch::MOST];
    let (start, slots) = batch.slots();
    let count = HEADERS.with_borrow_mut(|headers| {
        let mut slices = slices(slots, most);
        let received = recvmmsg(
            socket.as_raw_fd(),
            headers,
            slices[..most.min(Batch::MOST)]
                .iter_mut()
                .take_while(|slice| !slice[0].is_empty()),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        let messages = received.zip(&mut lengths);
        Ok(messages
            .map(|(message, length)| *length = message.bytes)
            .count())
    })?;
    for (index, length) in lengths[..count].iter().enumerate() {
        let at = start + index * STRIDE;
        batch.mark(at..at + length);
    }
    Ok(count)
}

/// As [`receive`], from a socket that joins datagrams of one size (UDP_GRO): what was joined is
/// told apart again. Counts what the kernel delivered.
pub(super) fn receive_joined(
    socket: BorrowedFd<'_>,
    batch: &mut Batch,
    most: usize,
) -> nix::Result<usize> {
    let mut joined = [(0, 0); Batch::MOST];
    let (start, slots) = batch.slots();
    // The kernel shortens the room for control messages in the headers, so they are used once.
    let mut headers = MultiHeaders::<()>::preallocate(Batch::MOST, Some(cmsg_space!(i32)));
    let mut slices = slices(slots, most);
    let received = recvmmsg(
        socket.as_raw_fd(),
        &mut headers,
        slices[..most.min(Batch::MOST)]
            .iter_mut()
            .take_while(|slice| !slice[0].is_empty()),
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    let mut count = 0;
    for (message, joined) in received.zip(&mut joined) {
        let size = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
            _ => None,
        });
        *joined = (message.bytes, size.unwrap_or(0));
        count += 1;
    }
    for (index, (length, size)) in joined[..count].iter().enumerate() {
        let end = start + index * STRIDE + length;
        let mut at = start + index * STRIDE;
        while *size > 0 && end - at > *size {
            batch.mark(at..at + size);
            at += size;
        }
        batch.mark(at..end);
    }
    Ok(count)
}

/// Who sent a datagram, and where to, as the kernel tells it.
pub(super) type Ends = (SocketAddr, Option<SocketAddr>);

/// Appends what came to an unconnected socket, with the ends of each datagram. `port` is the
/// socket's own, for kernels that tell the address alone.
pub(super) fn receive_from(
    socket: BorrowedFd<'_>,
    port: u16,
    batch: &mut Batch,
    ends: &mut Vec<Ends>,
) -> nix::Result<usize> {
    let mut lengths = [(0, false); Batch::MOST];
    let (start, slots) = batch.slots();
    let room = cmsg_space!(nix::libc::sockaddr_in6, nix::libc::in6_pktinfo);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(Batch::MOST, Some(room));
    let mut slices = slices(slots, Batch::MOST);
    let received = recvmmsg(
        socket.as_raw_fd(),
        &mut headers,
        slices.iter_mut().take_while(|slice| !slice[0].is_empty()),
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    let mut count = 0;
    for (message, length) in received.zip(&mut lengths) {
        let client = message.address.as_ref().and_then(address);
        let to = message
            .cmsgs()?
            .filter_map(|control| destination(&control, port))
            .max_by_key(|(exact, _)| *exact)
            .map(|(_, to)| to);
        *length = (message.bytes, client.is_some());
        ends.extend(client.map(|client| (client, to)));
        count += 1;
    }
    for (index, (length, known)) in lengths[..count].iter().enumerate() {
        let at = start + index * STRIDE;
        if *known {
            batch.mark(at..at + length);
        }
    }
    Ok(count)
}

fn slices<'a>(
    mut slots: impl Iterator<Item = &'a mut [u8]>,
    most: usize,
) -> [[IoSliceMut<'a>; 1]; Batch::MOST] {
    array::from_fn(|index| {
        let slot = if index < most { slots.next() } else { None };
        [IoSliceMut::new(slot.unwrap_or_default())]
    })
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddrV6::from(*v6).into())
    })
}

/// The destination in a control message, and whether its port is the packet's own.
fn destination(control: &ControlMessageOwned, port: u16) -> Option<(bool, SocketAddr)> {
    match control {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            Some((true, SocketAddrV4::from(SockaddrIn::from(*to)).into()))
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            Some((true, SocketAddrV6::from(SockaddrIn6::from(*to)).into()))
        }
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let ip = u32::from_be(info.ipi_addr.s_addr);
            Some((false, (std::net::Ipv4Addr::from(ip), port).into()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
            Some((false, (ip, port).into()))
        }
        _ => None,
    }
}

/// Sends datagrams of a batch, each on its own, on a connected socket; returns how many left.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    batch: &Batch,
    from: usize,
    to: usize,
) -> nix::Result<usize> {
    let count = (to - from).min(Batch::MOST);
    if count == 1 {
        let datagram = batch.get(from).expect("the range is within the batch");
        return nix::sys::socket::send(socket.as_raw_fd(), datagram, FLAGS).map(|_| 1);
    }
    let slices: [[IoSlice<'_>; 1]; Batch::MOST] = array::from_fn(|index| {
        let datagram = (index < count).then(|| batch.get(from + index)).flatten();
        [IoSlice::new(datagram.unwrap_or_default())]
    });
    HEADERS.with_borrow_mut(|headers| {
        let controls: [ControlMessage<'_>; 0] = [];
        let sent = sendmmsg(
            socket.as_raw_fd(),
            headers,
            slices[..count].iter(),
            [None; Batch::MOST],
            controls,
            FLAGS,
        )?;
        Ok(sent.count())
    })
}

/// Sends datagrams of a batch to one address, each behind the same header; returns how many left.
pub(super) fn send_to(
    socket: BorrowedFd<'_>,
    address: SocketAddr,
    header: &[u8],
    batch: &Batch,
    from: usize,
) -> nix::Result<usize> {
    let address = SockaddrStorage::from(address);
    let count = (batch.len() - from).min(Batch::MOST);
    let slices: [[IoSlice<'_>; 2]; Batch::MOST] = array::from_fn(|index| {
        let datagram = (index < count).then(|| batch.get(from + index)).flatten();
        [header, datagram.unwrap_or_default()].map(IoSlice::new)
    });
    if count == 1 {
        return sendmsg(socket.as_raw_fd(), &slices[0], &[], FLAGS, Some(&address)).map(|_| 1);
    }
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(count, None);
    let controls: [ControlMessage<'_>; 0] = [];
    let sent = sendmmsg(
        socket.as_raw_fd(),
        &mut headers,
        slices[..count].iter(),
        [Some(address); Batch::MOST],
        controls,
        FLAGS,
    )?;
    Ok(sent.count())
}

/// Sends datagrams of one size, the last one perhaps shorter, as one (UDP_SEGMENT): the kernel or
/// the device takes them apart.
pub(super) fn send_joined(
    socket: BorrowedFd<'_>,
    batch: &Batch,
    from: usize,
    to: usize,
) -> nix::Result<()> {
    let size = batch.get(from).map_or(0, <[u8]>::len);
    let size = u16::try_from(size).map_err(|_| Errno::EMSGSIZE)?;
    let slices: [IoSlice<'_>; SEGMENTS] = array::from_fn(|index| {
        let datagram = (from + index < to)
            .then(|| batch.get(from + index))
            .flatten();
        IoSlice::new(datagram.unwrap_or_default())
    });
    let control = [ControlMessage::UdpGsoSegments(&size)];
    let slices = &slices[..(to - from).min(SEGMENTS)];
    sendmsg::<()>(socket.as_raw_fd(), slices, &control, FLAGS, None).map(drop)
}

/// How many datagrams from `from` on can leave as one, none longer than `longest`.
pub(super) fn joinable(batch: &Batch, from: usize, longest: usize) -> usize {
    let Some(size) = batch.get(from).map(<[u8]>::len) else {
        return 0;
    };
    if size == 0 || size > longest {
        return 1;
    }
    let (mut count, mut total) = (1, size);
    while let Some(next) = batch.get(from + count).map(<[u8]>::len) {
        total += next;
        if count == SEGMENTS || next == 0 || next > size || total > JOINED {
            break;
        }
        count += 1;
        if next < size {
            break;
        }
    }
    count
}

/// A datagram that cannot leave at once is lost, as on any full link.
const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// The most datagrams that the kernel takes as one (`UDP_MAX_SEGMENTS` of include/linux/udp.h was
/// 64 for long).
const SEGMENTS: usize = 64;

/// The most bytes that it takes as one, safely below the length of an IP packet.
const JOINED: usize = 65_000;

/// Has the reactor watch a nonblocking socket for datagrams, and for nothing else.
#[allow(
    deprecated,
    reason = "its caller must keep the descriptor open, which the socket that it owns does"
)]
pub(super) fn watch<S: AsRawFd>(socket: S) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Reads the records of errors that the kernel keeps for a socket, and drops them.
pub(super) fn forget_errors(socket: BorrowedFd<'_>) {
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let mut room = [0; 1];
    loop {
        let mut slices = [IoSliceMut::new(&mut room)];
        if recvmsg::<()>(socket.as_raw_fd(), &mut slices, None, flags).is_err() {
            return;
        }
    }
}

/// Asks the kernel whether it knows of an error on a socket.
pub(super) fn pending_error(socket: &impl AsFd) -> Option<Errno> {
    let error =
        nix::sys::socket::getsockopt(&socket.as_fd(), nix::sys::socket::sockopt::SocketError);
    match error {
        Ok(0) => None,
        Ok(code) => Some(Errno::from_raw(code)),
        Err(error) => Some(error),
    }
}
