//! Markers that prove that a recording has caught up.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use super::{Direction, processors};
use crate::sys::send_packet;

/// An Ethernet type for local experiments (IEEE Std 802, local experimental 1).
pub(super) const MARKER: u16 = 0x88b5;

/// What a marker frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    process: u32,
    number: u32,
    processor: u32,
}

impl Marker {
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (slot, value) in
            bytes
                .chunks_exact_mut(4)
                .zip([self.process, self.number, self.processor])
        {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes
            .chunks_exact(4)
            .map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        Some(Self {
            process: words.next()?,
            number: words.next()?,
            processor: words.next()?,
        })
    }
}

/// One end from which markers are sent, and the direction in which the recording sees them.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Arc<OwnedFd>,
    interface: u32,
    direction: Direction,
}

impl Sender {
    pub(super) fn open(interface: u32, direction: Direction) -> io::Result<Self> {
        // Bound to no protocol, it receives nothing that would fill its buffer.
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        Ok(Self {
            socket: Arc::new(socket),
            interface,
            direction,
        })
    }

    /// The far end of a link, in the namespace of this path.
    pub(super) fn open_at(namespace: &Path, interface: &str) -> io::Result<Self> {
        let namespace = File::open(namespace)?;
        let open = || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            let index = nix::net::if_::if_nametoindex(interface)?;
            Self::open(index, Direction::Incoming)
        };
        thread::scope(|scope| {
            scope
                .spawn(open)
                .join()
                .expect("opening a socket does not panic")
        })
    }

    /// The same end of the loopback device, whose frames come back in.
    pub(super) fn looped(&self) -> Self {
        let Self {
            socket,
            interface,
            direction: _,
        } = self;
        Self {
            socket: Arc::clone(socket),
            interface: *interface,
            direction: Direction::Incoming,
        }
    }

    /// Sends a marker from each processor, and gives what the recording has to see.
    pub(super) fn send(&self, number: u32) -> Vec<(Marker, Direction)> {
        let process = std::process::id();
        let marker = |processor| Marker {
            process,
            number,
            processor,
        };
        let send = |processor: usize| {
            let mut set = CpuSet::new();
            set.set(processor).expect("a processor that exists");
            sched_setaffinity(Pid::from_raw(0), &set)
                .expect("a thread may choose among its processors");
            let marker = marker(processor as u32);
            let sent = send_packet(self.socket.as_fd(), self.interface, MARKER, &marker.bytes());
            sent.unwrap_or_else(|error| {
                panic!("send a marker on interface {}: {error}", self.interface)
            });
            (marker, self.direction)
        };
        let all = || processors().into_iter().map(send).collect();
        // On a thread of its own, whose affinity ends with it.
        thread::scope(|scope| scope.spawn(all).join().expect("markers can be sent"))
    }
}
