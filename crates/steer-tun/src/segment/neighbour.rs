//! Who has which IPv6 address (RFC 4861), and who is the router.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use super::frame::{self, Frame, ON_LINK};
use super::{Answer, GATEWAY, ICMP6, Mac, Segment, held};
use crate::packet::{Offload, Reason, Transport, checksum, parse};

impl Segment {
    /// Learns from a message of neighbour discovery, and answers it where it asks for the gateway
    /// or for a router.
    pub(super) fn discovery(
        &self,
        frame: &Frame<'_>,
        offload: &Offload,
        now: Instant,
        answer: Answer<'_>,
    ) -> Result<(), Reason> {
        let message = Message::read(frame.payload, offload)?;
        let (source, mac) = (message.source, frame.source);
        if self.own.has(source.into()) {
            return Err(Reason::Source);
        }
        match message.kind {
            NEIGHBOUR_SOLICITATION => {
                let target = message.target()?;
                message.options(SOLICITATION_HEADER, mac)?;
                if source.is_unspecified() {
                    // Duplicate address detection asks the group of those that may have it.
                    if message.destination != solicited_node(target) {
                        return Err(Reason::Icmp);
                    }
                } else {
                    held(&self.stations).learn(source.into(), mac);
                }
                if self.own.has(target.into()) {
                    answer(&advertisement(target, source, mac));
                }
            }
            NEIGHBOUR_ADVERTISEMENT => {
                let target = message.target()?;
                message.options(SOLICITATION_HEADER, mac)?;
                if self.own.has(target.into()) {
                    return Err(Reason::Source);
                }
                held(&self.stations).learn(target.into(), mac);
            }
            ROUTER_SOLICITATION => {
                message.options(ROUTER_HEADER, mac)?;
                if let Some(router) = &self.router {
                    held(router).solicited(source, mac, now, answer);
                }
            }
            // Another router's advertisement or redirect is for the stations.
            _ => {}
        }
        Ok(())
    }
}

/// Whether a type of ICMPv6 is one of neighbour discovery.
pub(super) const fn is_discovery(kind: u8) -> bool {
    matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
}

struct Message<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads one that was sent on this link and is whole.
    fn read(packet: &'a [u8], offload: &Offload) -> Result<Self, Reason> {
        let parsed = parse(packet)?;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (parsed.source, parsed.destination)
        else {
            return Err(Reason::Version);
        };
        if parsed.transport != Transport::Icmp || parsed.hops != ON_LINK {
            return Err(Reason::Icmp);
        }
        let bytes = &packet[parsed.start..parsed.end];
        let [kind, code, _, _, ..] = *bytes else {
            return Err(Reason::Length);
        };
        let pseudo = checksum::pseudo(parsed.source, parsed.destination, ICMP6, bytes.len());
        let is_whole = offload.valid || offload.partial.is_some();
        if !is_whole && checksum::fold(pseudo + checksum::sum(bytes)) != 0xffff {
            return Err(Reason::Checksum);
        }
        if code != 0 || source.is_multicast() {
            return Err(Reason::Icmp);
        }
        Ok(Self {
            source,
            destination,
            kind,
            bytes,
        })
    }

    /// The address that it is about.
    fn target(&self) -> Result<Ipv6Addr, Reason> {
        let rest = self.bytes.get(8..).ok_or(Reason::Length)?;
        let target: &[u8; 16] = rest.first_chunk().ok_or(Reason::Length)?;
        let target = Ipv6Addr::from(*target);
        match target.is_multicast() || target.is_unspecified() {
            true => Err(Reason::Icmp),
            false => Ok(target),
        }
    }

    /// Looks at the options behind a header: nobody speaks for another station.
    fn options(&self, header: usize, mac: Mac) -> Result<(), Reason> {
        let mut options = self.bytes.get(header..).ok_or(Reason::Length)?;
        while let [kind, units, ..] = *options {
            let length = usize::from(units) * 8;
            let option = options.get(..length).ok_or(Reason::Length)?;
            // One without a length never ends (RFC 4861, 4.6).
            if option.is_empty() {
                return Err(Reason::Length);
            }
            if matches!(kind, SOURCE_ADDRESS | TARGET_ADDRESS) && option[2..8] != mac {
                return Err(Reason::Source);
            }
            // Who has no address yet says no hardware address of it (RFC 4861, 7.1.1).
            if kind == SOURCE_ADDRESS && self.source.is_unspecified() {
                return Err(Reason::Icmp);
            }
            options = &options[length..];
        }
        match options.is_empty() {
            true => Ok(()),
            false => Err(Reason::Length),
        }
    }
}

/// Says that the gateway has an address, to whoever asked; to all where who asked has none.
fn advertisement(target: Ipv6Addr, asked: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let flags = match asked.is_unspecified() {
        true => IS_ROUTER | OVERRIDE,
        false => IS_ROUTER | SOLICITED | OVERRIDE,
    };
    let head = [NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    let parts: [&[u8]; 4] = [&head, &target.octets(), &[TARGET_ADDRESS, 1], &GATEWAY];
    let (to, destination) = match asked.is_unspecified() {
        true => (ALL_NODES_MAC, ALL_NODES),
        false => (mac, asked),
    };
    frame::icmp6(to, target, destination, parts.concat())
}

/// The group of those whose address ends like this one (RFC 4291, 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// All stations.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The hardware address of [`ALL_NODES`] (RFC 2464, 7).
pub(super) const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// The option with the sender's hardware address.
pub(super) const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const IS_ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

const ROUTER_HEADER: usize = 8;
const SOLICITATION_HEADER: usize = 24;
