//! The link of a device with a link layer: who is there, and what its stations are told.
//!
//! ```text
//! frame ─> take ─┬─ for the gateway's hardware address ─> Packet ─> path
//!                ├─ arp ───────────┐
//!                ├─ neighbour (ND) ┼─> answered here, to whoever asked
//!                ├─ advertise (RA) ┤
//!                └─ dhcp ──────────┘
//! ```
//!
//! It answers for the gateway's addresses alone, and to the station that asked: nobody can make it
//! send anything to a third one. What it remembers of stations is bounded.

mod advertise;
mod arp;
mod dhcp;
mod frame;
mod neighbour;
mod stations;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::packet::{Offload, Reason};
use crate::wire::Hop;

use advertise::Router;
use arp::Defence;
use dhcp::Server;
use frame::Frame;
use stations::Stations;

/// A hardware address.
pub type Mac = [u8; 6];

/// The gateway's own hardware address, on every link; it is administered locally.
pub const GATEWAY: Mac = [0x02, 0x5e, 0x7e, 0xe2, 0x00, 0x01];

/// The gateway's address within every link (RFC 4291, 2.5.6).
pub const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway's IPv4 address on a link that has no station but this host.
pub const HOST_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 66);

/// The length of a frame's header.
pub const HEADER: usize = frame::HEADER;

/// What a link is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The gateway's addresses with the lengths of their networks; [`LINK_LOCAL`] is one in any case.
    pub gateways: Vec<(IpAddr, u8)>,
    /// The longest packet, without the link's header.
    pub mtu: u32,
    /// Whether stations that ask get an IPv4 address (DHCP).
    pub dhcp: bool,
    /// Whether the IPv6 networks are advertised.
    pub advertise: bool,
    /// The resolvers that stations are told; none where there are none.
    pub resolvers: Vec<IpAddr>,
}

/// The link of one device; shared by the threads of its queues.
#[derive(Debug)]
pub struct Segment {
    own: Own,
    stations: Mutex<Stations>,
    defence: Mutex<Defence>,
    server: Option<Mutex<Server>>,
    router: Option<Mutex<Router>>,
}

/// What has become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A packet for the engine.
    Packet {
        /// Where answers go.
        hop: Hop,
        /// Where in the frame it starts.
        at: usize,
    },
    /// Business of the link: answered, where it asked for the gateway.
    Answered,
    /// Nothing for the engine or the gateway; not yet counted.
    Refused(Reason),
}

/// Takes whole frames of ours to the device.
pub type Answer<'a> = &'a mut dyn FnMut(&[u8]);

/// The gateway's addresses.
#[derive(Debug)]
struct Own(Vec<(IpAddr, u8)>);

impl Setup {
    /// The link whose only station is this host.
    #[must_use]
    pub fn of_host(mtu: u32) -> Self {
        Self {
            gateways: vec![(HOST_GATEWAY.into(), 26)],
            mtu,
            dhcp: false,
            advertise: false,
            resolvers: Vec::new(),
        }
    }
}

impl Segment {
    /// A link of which no station is known.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let mut own = setup.gateways.clone();
        own.push((LINK_LOCAL.into(), 64));
        let server = setup.dhcp.then(|| Server::new(setup)).flatten();
        let router = setup.advertise.then(|| Router::new(setup));
        Self {
            own: Own(own),
            stations: Mutex::default(),
            defence: Mutex::default(),
            server: server.map(Mutex::new),
            router: router.map(Mutex::new),
        }
    }

    /// Takes a frame, whose header before it says `offload`, and answers it where it is about the
    /// link itself.
    pub fn take(&self, bytes: &[u8], offload: &Offload, now: Instant, answer: Answer<'_>) -> Taken {
        let taken = match Frame::read(bytes) {
            None => Err(Reason::Length),
            Some(frame) if !frame.is_from_a_station() => Err(Reason::Frame),
            // A bridge floods to all its ports what it knows no port for.
            Some(frame) if !frame.is_for_us() => Err(Reason::Frame),
            Some(frame) => match frame.kind {
                frame::ARP => self.arp(&frame, now, answer).map(|()| Taken::Answered),
                frame::IPV4 => self.v4(&frame, offload, now, answer),
                frame::IPV6 => self.v6(&frame, offload, now, answer),
                // Tagged frames too: whoever wants several networks gives each its bridge.
                _ => Err(Reason::Frame),
            },
        };
        taken.unwrap_or_else(Taken::Refused)
    }

    /// The station that was last known to have an address.
    #[must_use]
    pub fn hop_of(&self, address: IpAddr) -> Option<Hop> {
        let mac = held(&self.stations).mac_of(address)?;
        Some(Hop::Station(mac))
    }

    /// Sends what is due without being asked for: router advertisements. To be called every few
    /// seconds.
    pub fn sweep(&self, now: Instant, answer: Answer<'_>) {
        if let Some(router) = &self.router {
            held(router).sweep(now, answer);
        }
    }

    /// Has the stations use the gateway for nothing that begins, and soon for nothing at all: what is
    /// under way needs it a little longer.
    pub fn leave(&self, answer: Answer<'_>) {
        if let Some(router) = &self.router {
            held(router).leave(answer);
        }
    }

    /// Tells the stations that the gateway is no router any more; once, where it is about to go.
    pub fn close(&self, answer: Answer<'_>) {
        if let Some(router) = &self.router {
            held(router).close(answer);
        }
    }

    fn v4(
        &self,
        frame: &Frame<'_>,
        offload: &Offload,
        now: Instant,
        answer: Answer<'_>,
    ) -> Result<Taken, Reason> {
        let fixed: &[u8; 20] = frame.payload.first_chunk().ok_or(Reason::Length)?;
        let to = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
        if let Some(server) = &self.server
            && fixed[9] == UDP
            && (to.is_broadcast() || self.own.has(to.into()))
            && let Some(request) = dhcp::request(frame.payload, offload)?
        {
            let mut stations = held(&self.stations);
            held(server).answer(frame.source, request, &mut stations, now, answer)?;
            return Ok(Taken::Answered);
        }
        match (frame.is_for_the_gateway(), fixed[9]) {
            (true, _) => Ok(frame.packet()),
            (false, IGMP) => Ok(Taken::Answered),
            (false, _) => Err(Reason::Destination),
        }
    }

    fn v6(
        &self,
        frame: &Frame<'_>,
        offload: &Offload,
        now: Instant,
        answer: Answer<'_>,
    ) -> Result<Taken, Reason> {
        let fixed: &[u8; 40] = frame.payload.first_chunk().ok_or(Reason::Length)?;
        let kind = frame.payload.get(40).copied();
        match (fixed[6], kind) {
            (ICMP6, Some(kind)) if neighbour::is_discovery(kind) => {
                self.discovery(frame, offload, now, answer)?;
                Ok(Taken::Answered)
            }
            _ if frame.is_for_the_gateway() => Ok(frame.packet()),
            // Who listens to which group (RFC 3810) is of no matter here.
            (HOP_BY_HOP, _) => Ok(Taken::Answered),
            _ => Err(Reason::Destination),
        }
    }
}

impl Own {
    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(own, _)| *own == address)
    }
}

/// The lock of what no thread leaves half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const HOP_BY_HOP: u8 = 0;
const IGMP: u8 = 2;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
