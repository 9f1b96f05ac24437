//! Where what is taken goes: the listeners of a network namespace.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::abi::{Event, PLACE_EXTERNAL, PLACE_V4, PLACE_V6, Place};
use crate::call::Protocol;
use crate::end::End;
use crate::maps::{PLACES, report};
use crate::traffic::Traffic;

/// The place of a namespace; one without is reported, so that it gets one.
#[inline(always)]
pub fn of(netns: u64) -> Option<&'static Place> {
    // SAFETY: the memory is an entry's of this map as long as the program runs; should it be another
    // namespace's by now, nobody listens there with the engine's mark in this one.
    let place = unsafe { PLACES.get(netns) };
    if place.is_none() {
        report(&Event {
            netns,
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            unused: 0,
        });
    }
    place
}

impl Place {
    /// The port for some traffic; none where there is no listener for it.
    #[inline(always)]
    pub fn port(&self, traffic: Traffic, protocol: Protocol, to: End) -> Option<u16> {
        let family = if to.is_v4() { PLACE_V4 } else { PLACE_V6 };
        if self.flags & family == 0 {
            return None;
        }
        let port = match (traffic, protocol) {
            (Traffic::Meant, Protocol::Tcp) => self.streams,
            (Traffic::Meant, Protocol::Udp) => self.datagrams,
            (Traffic::Dns, Protocol::Tcp) => self.dns_streams,
            (Traffic::Dns, Protocol::Udp) => self.dns_datagrams,
            (Traffic::Left | Traffic::Refused | Traffic::Untakeable, _) | (_, Protocol::Other) => 0,
        };
        (port != 0).then_some(port)
    }

    /// Whether a port is one of its listeners'.
    #[inline(always)]
    pub fn has(&self, protocol: Protocol, port: u16) -> bool {
        let (one, other) = match protocol {
            Protocol::Tcp => (self.streams, self.dns_streams),
            Protocol::Udp => (self.datagrams, self.dns_datagrams),
            Protocol::Other => (0, 0),
        };
        port != 0 && (port == one || port == other)
    }

    /// Whether its listeners are of another proxy.
    #[inline(always)]
    pub fn is_external(&self) -> bool {
        self.flags & PLACE_EXTERNAL != 0
    }
}
