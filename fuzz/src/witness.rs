//! What sees every packet that goes out.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use steer_core::address::Family;
use steer_core::object::device_net;
use steer_tun::packet::{Offload, Transport, checksum, parse};
use steer_tun::wire::{Hop, Wire};

/// The way out of a device, at which no packet may go to somebody who has not sent one.
#[derive(Debug)]
pub(crate) struct Witness {
    offloads: bool,
    /// Whether packets to the engine's kernel leave here.
    inner: bool,
    /// Whether packets to clients leave here.
    outer: bool,
    known: Arc<Mutex<HashSet<(Hop, IpAddr)>>>,
    sent: AtomicUsize,
}

impl Witness {
    pub(crate) fn new(
        offloads: bool,
        (inner, outer): (bool, bool),
        known: Arc<Mutex<HashSet<(Hop, IpAddr)>>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            offloads,
            inner,
            outer,
            known,
            sent: AtomicUsize::new(0),
        })
    }

    /// How many packets went out.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Relaxed)
    }
}

impl Wire for Witness {
    fn send(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()> {
        self.sent.fetch_add(1, Relaxed);
        let packet = parts.concat();
        let parsed = parse(&packet).expect("what goes out is a packet");
        assert_eq!(parsed.end, packet.len(), "and nothing but that");
        let to_kernel = self.inner && is_of_device(parsed.destination);
        let known = self.known.lock().expect("no panic before");
        let to_client = self.outer && known.contains(&(hop, parsed.destination));
        assert!(to_kernel || to_client, "{hop:?} {parsed:?}");
        if let Some((start, at)) = offload.partial {
            assert!(self.offloads, "nobody completes it");
            let field = usize::from(start) + usize::from(at);
            assert!(usize::from(start) >= parsed.start && field + 2 <= packet.len());
        }
        if let Some(gso) = offload.gso {
            assert!(self.offloads && gso.size > 0, "nobody cuts it");
            assert!(usize::from(gso.headers) <= packet.len());
        } else if packet.len() > self.longest() {
            // Only a host takes it, and what was written to it came so.
            assert_eq!(hop, Hop::Host);
        }
        let message = &packet[parsed.start..];
        let number = parsed.transport.number(parsed.family);
        let sum = match (parsed.fragment, parsed.transport, parsed.family) {
            (None, Transport::Icmp, Family::V4) => checksum::sum(message),
            (None, Transport::Icmp, Family::V6) | (None, Transport::Udp, _)
                if offload.partial.is_none() =>
            {
                let (from, to) = (parsed.source, parsed.destination);
                checksum::pseudo(from, to, number, message.len()) + checksum::sum(message)
            }
            _ => 0xffff,
        };
        // A quoted datagram has none, a message of ours has one.
        assert_eq!(checksum::fold(sum), 0xffff, "{parsed:?}");
        Ok(())
    }

    fn longest(&self) -> usize {
        1500
    }

    fn completes_checksums(&self) -> bool {
        self.offloads
    }

    fn cuts_datagrams(&self) -> bool {
        self.offloads
    }
}

pub(crate) fn is_of_device(ip: IpAddr) -> bool {
    device_net(Family::of(ip)).contains(ip)
}
