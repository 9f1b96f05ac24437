//! IPv4 addresses for stations that ask (RFC 2131).

mod leases;
mod message;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::frame::{self, BROADCAST};
use super::stations::Stations;
use super::{Answer, Mac, Setup, UDP};
use crate::packet::{Offload, Reason, Transport, checksum, parse};

use leases::Leases;
use message::{Kind, Reply, Request};

/// Gives out the addresses of one network.
#[derive(Debug)]
pub(super) struct Server {
    own: Ipv4Addr,
    length: u8,
    mtu: u16,
    resolvers: Vec<Ipv4Addr>,
    leases: Leases,
}

/// What a packet asks of the server; `None` where it is for somebody else.
pub(super) fn request<'a>(
    packet: &'a [u8],
    offload: &Offload,
) -> Result<Option<Request<'a>>, Reason> {
    let parsed = parse(packet)?;
    if parsed.transport != Transport::Udp || parsed.fragment.is_some() {
        return Ok(None);
    }
    let datagram = &packet[parsed.start..parsed.end];
    let header: &[u8; 8] = datagram.first_chunk().ok_or(Reason::Length)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if word(2) != SERVER {
        return Ok(None);
    }
    let length = usize::from(word(4));
    let datagram = datagram.get(..length).ok_or(Reason::Length)?;
    let payload = datagram.get(8..).ok_or(Reason::Length)?;
    let is_whole = offload.valid || offload.partial.is_some() || word(6) == 0;
    let pseudo = checksum::pseudo(parsed.source, parsed.destination, UDP, length);
    if !is_whole && checksum::fold(pseudo + checksum::sum(datagram)) != 0xffff {
        return Err(Reason::Checksum);
    }
    Request::read(payload).map(Some).ok_or(Reason::Frame)
}

impl Server {
    /// The server of the first IPv4 network; `None` where there is none.
    pub(super) fn new(setup: &Setup) -> Option<Self> {
        let (own, length) = setup.gateways.iter().find_map(|(own, length)| match own {
            IpAddr::V4(own) => Some((*own, *length)),
            IpAddr::V6(_) => None,
        })?;
        let resolvers = setup
            .resolvers
            .iter()
            .filter_map(|resolver| match resolver {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            });
        Some(Self {
            own,
            length,
            mtu: u16::try_from(setup.mtu).unwrap_or(u16::MAX),
            resolvers: resolvers.take(RESOLVERS_MOST).collect(),
            leases: Leases::new(own, length),
        })
    }

    /// Answers what a station asks.
    pub(super) fn answer(
        &mut self,
        from: Mac,
        request: Request<'_>,
        stations: &mut Stations,
        now: Instant,
        answer: Answer<'_>,
    ) -> Result<(), Reason> {
        // Nobody speaks for another station, and there are no relays on this link.
        if request.hardware != from || !request.relay.is_unspecified() {
            return Err(Reason::Source);
        }
        let key = request.client.unwrap_or(&request.hardware).to_vec();
        let is_taken = |address: Ipv4Addr| stations.is_of_another(address.into(), from);
        match request.kind {
            Kind::Discover => {
                let wanted = request.requested;
                let offer = self.leases.offer(&key, wanted, is_taken, now);
                let offer = offer.ok_or(Reason::Full)?;
                // Whoever had it before has lost it.
                stations.forget(offer.into());
                answer(&self.reply(&request, Kind::Offer, offer));
            }
            Kind::Request => {
                if request.server.is_some_and(|server| server != self.own) {
                    // Another server's offer was taken.
                    self.leases.withdraw(&key, now);
                    return Ok(());
                }
                // Which one it has, or else which one it wants.
                let address = match request.current.is_unspecified() {
                    true => request.requested.ok_or(Reason::Frame)?,
                    false => request.current,
                };
                if self.leases.bind(&key, address, is_taken, now) {
                    stations.learn(address.into(), from);
                    answer(&self.reply(&request, Kind::Ack, address));
                } else {
                    answer(&self.reply(&request, Kind::Nak, Ipv4Addr::UNSPECIFIED));
                }
            }
            Kind::Inform => answer(&self.reply(&request, Kind::Ack, Ipv4Addr::UNSPECIFIED)),
            Kind::Release => self.leases.release(&key, request.current, now),
            Kind::Decline => {
                let address = request.requested.ok_or(Reason::Frame)?;
                self.leases.decline(&key, address, now);
            }
            Kind::Offer | Kind::Ack | Kind::Nak => return Err(Reason::Frame),
        }
        Ok(())
    }

    /// A whole frame with an answer, to where the RFC says that this client hears it (4.1).
    fn reply(&self, request: &Request<'_>, kind: Kind, address: Ipv4Addr) -> Vec<u8> {
        let settings = match kind {
            Kind::Nak => None,
            _ => Some(message::Settings {
                lease: (request.kind != Kind::Inform).then_some(LEASE),
                mask: Ipv4Addr::from(mask(self.length)),
                mtu: self.mtu,
                resolvers: &self.resolvers,
            }),
        };
        let reply = Reply {
            kind,
            address,
            server: self.own,
            settings,
        };
        let all = (BROADCAST, Ipv4Addr::BROADCAST);
        let (mac, to) = match kind {
            Kind::Nak => all,
            _ if !request.current.is_unspecified() => (request.hardware, request.current),
            _ if request.broadcast || address.is_unspecified() => all,
            _ => (request.hardware, address),
        };
        let (source, to) = (
            SocketAddrV4::new(self.own, SERVER),
            SocketAddrV4::new(to, CLIENT),
        );
        frame::udp4(mac, source, to, &reply.bytes(request))
    }
}

/// The mask of a network whose prefix is so long.
fn mask(length: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(length.min(32)))
        .unwrap_or(0)
}

const SERVER: u16 = 67;
const CLIENT: u16 = 68;

/// How long an address may be used before it is asked for again.
const LEASE: Duration = Duration::from_secs(3600);

/// Nobody asks more resolvers than this.
const RESOLVERS_MOST: usize = 3;
