//! Who has which IPv4 address (RFC 826), and that nobody takes the gateway's (RFC 5227).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::frame::{self, BROADCAST, Frame};
use super::{Answer, GATEWAY, Mac, Segment, held};
use crate::packet::Reason;

/// When the gateway's addresses were last defended.
#[derive(Debug, Default)]
pub(super) struct Defence(Option<Instant>);

impl Segment {
    /// Learns from a message, and answers it where it asks for the gateway.
    pub(super) fn arp(
        &self,
        frame: &Frame<'_>,
        now: Instant,
        answer: Answer<'_>,
    ) -> Result<(), Reason> {
        let message = Message::read(frame.payload)?;
        // An answer goes to the station that sent the frame, and nobody speaks for another one.
        if message.sender.0 != frame.source {
            return Err(Reason::Source);
        }
        if self.own.has(message.sender.1.into()) {
            // Somebody claims the gateway's address: all are told whose it is, now and then.
            if held(&self.defence).is_due(now) {
                let own = message.sender.1;
                let announcement = reply(REQUEST, own, ([0; 6], own));
                answer(&frame::frame(BROADCAST, frame::ARP, &[&announcement]));
            }
            return Err(Reason::Source);
        }
        held(&self.stations).learn(message.sender.1.into(), message.sender.0);
        if message.operation == REQUEST && self.own.has(message.target.into()) {
            let reply = reply(REPLY, message.target, message.sender);
            answer(&frame::frame(frame.source, frame::ARP, &[&reply]));
        }
        Ok(())
    }
}

impl Defence {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .0
            .is_none_or(|last| now.saturating_duration_since(last) >= DEFEND_INTERVAL);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// A request or reply about IPv4 on Ethernet.
struct Message {
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: Ipv4Addr,
}

impl Message {
    fn read(bytes: &[u8]) -> Result<Self, Reason> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk().ok_or(Reason::Length)?;
        let [head @ .., high, low] = *bytes.first_chunk::<8>().expect("28 bytes have 8");
        if head != ETHERNET_IPV4 {
            return Err(Reason::Frame);
        }
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let mac = bytes[8..14].try_into().expect("six bytes");
        Ok(Self {
            operation: u16::from_be_bytes([high, low]),
            sender: (mac, ip(14)),
            target: ip(24),
        })
    }
}

/// A message of the gateway's.
fn reply(operation: u16, own: Ipv4Addr, target: (Mac, Ipv4Addr)) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..6].copy_from_slice(&ETHERNET_IPV4);
    bytes[6..8].copy_from_slice(&operation.to_be_bytes());
    bytes[8..14].copy_from_slice(&GATEWAY);
    bytes[14..18].copy_from_slice(&own.octets());
    bytes[18..24].copy_from_slice(&target.0);
    bytes[24..28].copy_from_slice(&target.1.octets());
    bytes
}

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Hardware type, protocol type and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// The length of a message.
const LENGTH: usize = 28;

/// How often an address is defended at most (RFC 5227, 1.1).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
