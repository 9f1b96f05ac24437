//! Packets of ours on their way out: whole where the link carries them, else in fragments.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::libc;
use steer_core::address::Family;

use crate::packet::build::{Ends, HOPS, Head, Sum, fragments};
use crate::packet::{Counters, Gso, Offload, Reason, Transport, checksum};
use crate::wire::{Hop, Wire};

/// Sends packets of ours by a wire, and counts those that it does not take.
#[derive(Debug)]
pub struct Out {
    wire: Arc<dyn Wire>,
    counters: Arc<Counters>,
    /// The number that the next packet's parts have in common.
    id: AtomicU32,
}

impl Out {
    /// What goes out by a wire.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, counters: Arc<Counters>) -> Self {
        // Nobody else can tell where the numbers begin (RFC 7739).
        let id = RandomState::new().hash_one(0) as u32;
        Self {
            wire,
            counters,
            id: AtomicU32::new(id),
        }
    }

    /// Counts a packet that is not taken.
    pub(crate) fn count(&self, reason: Reason) {
        self.counters.count(reason);
    }

    /// Sends a packet with this payload, which begins with the header of the transport and has its
    /// checksum.
    ///
    /// # Errors
    /// The device takes nothing any more. What it does not take for another reason is lost.
    pub fn send(
        &self,
        hop: Hop,
        ends: Ends,
        transport: Transport,
        payload: &[u8],
    ) -> io::Result<()> {
        self.send_within(usize::MAX, hop, ends, transport, payload)
    }

    /// As [`Out::send`], where a link further on carries no more than `narrow` bytes.
    fn send_within(
        &self,
        narrow: usize,
        hop: Hop,
        ends: Ends,
        transport: Transport,
        payload: &[u8],
    ) -> io::Result<()> {
        let id = self.next_id();
        let Some(head) = Head::ip(ends, transport, HOPS, Some(id as u16), payload.len()) else {
            self.count(Reason::Length);
            return Ok(());
        };
        let longest = self.longest(hop, ends.family()).min(narrow);
        if head.len() + payload.len() <= longest {
            return self.write(hop, Offload::default(), &[head.bytes(), payload]);
        }
        for (head, piece) in fragments(ends, transport, id, payload, longest) {
            self.write(hop, Offload::default(), &[head.bytes(), piece])?;
        }
        Ok(())
    }

    /// Sends datagrams to one client, as few packets as the wire allows.
    ///
    /// # Errors
    /// As [`Out::send`].
    pub fn datagrams<'a>(
        &self,
        hop: Hop,
        from: SocketAddr,
        to: SocketAddr,
        narrow: usize,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let family = Family::of(to.ip());
        let longest = self.longest(hop, family).min(narrow);
        // One that stands for several has to be as long as the link carries once it is cut.
        let each = match self.wire.cuts_datagrams() {
            true => longest.min(self.wire.longest()).saturating_sub(HEADERS),
            false => 0,
        };
        let mut datagrams = datagrams.peekable();
        let mut joined = Vec::new();
        while let Some(first) = datagrams.next() {
            let mut count = 1;
            if (1..=each).contains(&first.len()) {
                joined.clear();
                joined.extend_from_slice(first);
                // A shorter one can only be the last.
                let mut whole = true;
                while whole && count < JOINED_MOST {
                    let fits = |next: &&[u8]| {
                        (1..=first.len()).contains(&next.len())
                            && joined.len() + next.len() <= JOINED_BYTES
                    };
                    let Some(next) = datagrams.next_if(fits) else {
                        break;
                    };
                    count += 1;
                    joined.extend_from_slice(next);
                    whole = next.len() == first.len();
                }
            }
            if count == 1 {
                self.datagram(hop, from, to, longest, first)?;
                continue;
            }
            let id = self.next_id() as u16;
            let Some(head) = Head::udp(from, to, Some(id), joined.len(), Sum::Partial) else {
                self.count(Reason::Length);
                continue;
            };
            let gso = Gso {
                kind: Gso::UDP,
                ecn: false,
                headers: head.len() as u16,
                size: first.len() as u16,
            };
            let offload = Offload {
                partial: Some((head.len() as u16 - 8, CHECKSUM)),
                valid: false,
                gso: Some(gso),
            };
            self.write(hop, offload, &[head.bytes(), &joined])?;
        }
        Ok(())
    }

    fn datagram(
        &self,
        hop: Hop,
        from: SocketAddr,
        to: SocketAddr,
        longest: usize,
        datagram: &[u8],
    ) -> io::Result<()> {
        let partial = self.wire.completes_checksums();
        let sum = match partial {
            true => Sum::Partial,
            false => Sum::Whole(checksum::sum(datagram)),
        };
        let id = self.next_id() as u16;
        let Some(head) = Head::udp(from, to, Some(id), datagram.len(), sum) else {
            self.count(Reason::Length);
            return Ok(());
        };
        if head.len() + datagram.len() <= longest {
            let offload = Offload {
                partial: partial.then_some((head.len() as u16 - 8, CHECKSUM)),
                ..Offload::default()
            };
            return self.write(hop, offload, &[head.bytes(), datagram]);
        }
        let sum = Sum::Whole(checksum::sum(datagram));
        let ends = Ends::new(from.ip(), to.ip()).expect("a header was made for them");
        let header = Head::udp_header(ends, from.port(), to.port(), datagram.len(), sum);
        let payload = [&header.expect("a longer header was made")[..], datagram].concat();
        self.send_within(longest, hop, ends, Transport::Udp, &payload)
    }

    /// The longest packet in one piece. A host takes any from its own device and, where it passes an
    /// IPv4 packet on, cuts it; one of IPv6 it does not cut.
    fn longest(&self, hop: Hop, family: Family) -> usize {
        match (hop, family) {
            (Hop::Host, Family::V4) => usize::MAX,
            (Hop::Host, Family::V6) | (Hop::Station(_), _) => self.wire.longest(),
        }
    }

    fn next_id(&self) -> u32 {
        self.id.fetch_add(1, Relaxed)
    }

    fn write(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()> {
        let Err(error) = self.wire.send(hop, offload, parts) else {
            return Ok(());
        };
        self.count(Reason::Unwritten);
        match error.raw_os_error() {
            Some(libc::EBADF | libc::EBADFD | libc::ENODEV | libc::ENXIO) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Where the checksum of UDP is in its header.
const CHECKSUM: u16 = 6;

/// The headers of a datagram, of IPv6 the longer ones.
const HEADERS: usize = 48;

/// The most datagrams that one packet stands for (`UDP_MAX_SEGMENTS` of include/linux/udp.h was 64
/// for long).
const JOINED_MOST: usize = 64;

/// The most bytes that they have together, safely below the length of a packet.
const JOINED_BYTES: usize = 65_000;

#[cfg(test)]
pub(crate) mod recorder;
