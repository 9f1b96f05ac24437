//! The outside witness: every packet of one interface, as it passed.

mod barrier;
mod packet;

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockType, recvfrom, setsockopt, socket, sockopt,
};

use crate::host::Host;
use crate::sys::{bind_packet, packet_drops};
use crate::watched::Watched;
use barrier::{MARKER, Marker, Sender};

pub use packet::{Direction, Flags, Packet};

/// A recording of all IP packets that pass an interface, in both directions, from its start on.
///
/// It listens on a packet socket of its own, so neither rules nor routes of the host can hide a
/// packet from it. It panics rather than answer when the kernel had to drop packets.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    senders: Vec<Sender>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    seen: Watched<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    packets: Vec<Packet>,
    markers: Vec<(Marker, Direction)>,
    dropped: u32,
}

impl Capture {
    /// Starts to record on an interface of the host; it records when this returns.
    pub fn start(host: &Host, interface: &str) -> Self {
        let opened = Self::open(host, interface);
        let (socket, senders) = opened.unwrap_or_else(|error| {
            panic!(
                "capture on {interface} of {}: {error}",
                host.namespace_name()
            );
        });
        let shared = Arc::new(Shared {
            socket,
            seen: Watched::default(),
        });
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let recording = Arc::clone(&shared);
        let thread = thread::spawn(move || recording.record(&stopped));
        Self {
            shared,
            senders,
            stop,
            thread: Some(thread),
        }
    }

    fn open(host: &Host, interface: &str) -> io::Result<(OwnedFd, Vec<Sender>)> {
        let (socket, own) = host.enter(|| open(interface))?;
        let mut senders = vec![own];
        if interface == "lo" {
            senders.push(senders[0].looped());
        }
        if let Some((namespace, peer)) = host.peer_of(interface) {
            senders.push(Sender::open_at(&namespace, &peer)?);
        }
        Ok((socket, senders))
    }

    /// Waits until everything that was on its way across the interface has been recorded.
    ///
    /// It sends a marker frame of an experimental Ethernet type, which no IP stack reads, from
    /// each end of the link and each processor, and waits until all have been recorded: queues
    /// of the kernel keep their order per processor. On an interface whose other end is no host
    /// of the lab, such as a TUN device, only the outgoing direction is covered.
    pub fn barrier(&self) {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let awaited: Vec<_> = self
            .senders
            .iter()
            .flat_map(|sender| sender.send(number))
            .collect();
        let arrived = |seen: &Seen| awaited.iter().all(|marker| seen.markers.contains(marker));
        self.shared
            .seen
            .expect("the markers of the barrier", |seen| {
                arrived(seen).then_some(())
            });
        self.shared
            .seen
            .update(|seen| seen.markers.retain(|marker| !awaited.contains(marker)));
    }

    /// The packets recorded so far that satisfy the condition; the [`Self::barrier`] comes first.
    ///
    /// On `lo` each packet is recorded twice, once in each direction.
    pub fn packets(&self, wanted: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.barrier();
        self.shared.seen.read(|seen| {
            assert_eq!(seen.dropped, 0, "the witness was too slow and lost packets");
            seen.packets
                .iter()
                .filter(|packet| wanted(packet))
                .cloned()
                .collect()
        })
    }

    /// Waits until a packet that satisfies the condition is recorded, and gives it.
    pub fn wait_for(&self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let look = |seen: &Seen| seen.packets.iter().find(|packet| wanted(packet)).cloned();
        match self.shared.seen.wait(crate::DEADLINE, look) {
            Some(packet) => packet,
            None => panic!(
                "the packet waited for did not come; recorded: {:#?}",
                self.packets(|_| true)
            ),
        }
    }

    /// Forgets what was recorded, after the [`Self::barrier`].
    pub fn clear(&self) {
        self.barrier();
        self.shared.seen.update(|seen| seen.packets.clear());
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn record(&self, stopped: &UnixStream) {
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let mut ready =
                [self.socket.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut ready, PollTimeout::NONE).is_err() {
                continue;
            }
            if ready[1].any() == Some(true) {
                return;
            }
            // An interface that goes down reports an error once; the recording goes on.
            let Ok((count, Some(from))) =
                recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer)
            else {
                continue;
            };
            self.note(&from, &buffer[..count]);
        }
    }

    fn note(&self, from: &LinkAddr, bytes: &[u8]) {
        let outgoing = from.pkttype() == libc::PACKET_OUTGOING;
        let direction = if outgoing {
            Direction::Outgoing
        } else {
            Direction::Incoming
        };
        let dropped = packet_drops(self.socket.as_fd()).unwrap_or(0);
        self.seen.update(|seen| {
            seen.dropped += dropped;
            if u16::from_be(from.protocol()) == MARKER {
                seen.markers
                    .extend(Marker::parse(bytes).map(|marker| (marker, direction)));
            } else {
                seen.packets.extend(Packet::parse(direction, bytes));
            }
        });
    }
}

/// A packet socket, without link headers, and a sender of markers, on an interface of the calling thread's namespace.
fn open(interface: &str) -> io::Result<(OwnedFd, Sender)> {
    let index = nix::net::if_::if_nametoindex(interface)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
        // Root of the machine alone may have more than others: what is lost is counted.
        setsockopt(&socket, sockopt::RcvBuf, &ROOM)?;
    }
    let any_protocol = libc::ETH_P_ALL as u16;
    bind_packet(socket.as_fd(), index, any_protocol)?;
    Ok((socket, Sender::open(index, Direction::Outgoing)?))
}

/// How many bytes of packets may wait to be recorded.
const ROOM: usize = 256 << 20;

/// The processors that this process may run on.
fn processors() -> Vec<usize> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return vec![0];
    };
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let range = |part: &str| {
        let (from, to) = part
            .trim()
            .split_once('-')
            .unwrap_or((part.trim(), part.trim()));
        from.parse().unwrap_or(0)..=to.parse().unwrap_or(0)
    };
    list.unwrap_or("0").split(',').flat_map(range).collect()
}
