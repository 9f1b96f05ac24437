//! Errors of others about packets of ours.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use steer_core::address::Family;

use super::errors::{UNREACHABLE_V4, UNREACHABLE_V6};
use super::quoted::Quoted;
use crate::out::Out;
use crate::packet::build::{Ends, Message, icmp};
use crate::packet::{Parsed, Reason, Transport};
use crate::udp::Udp;
use crate::wire::Hop;

/// The ends that a steered connection has on the engine's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The client that the engine sees.
    pub client: SocketAddr,
    /// The engine's listener.
    pub listener: SocketAddr,
}

/// The engine's side of connections.
pub struct Inside {
    /// The way there.
    pub out: Arc<Out>,
    /// The ends of the connection of a client (first) to a destination.
    pub find: Box<Find>,
}

/// Finds the ends that a connection from a client to a destination has on the engine's side.
pub type Find = dyn Fn(SocketAddr, SocketAddr) -> Option<Inner> + Send + Sync;

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

/// Takes an error about a packet that went to a client in a destination's name.
pub(super) fn take(
    inside: &Inside,
    udp: &Udp,
    parsed: &Parsed,
    message: &[u8],
) -> Result<(), Reason> {
    let (header, body) = message.split_first_chunk::<8>().ok_or(Reason::Length)?;
    let quoted = Quoted::read(parsed.family, body).ok_or(Reason::Icmp)?;
    let (destination, client) = (quoted.source(), quoted.destination());
    match quoted.transport {
        Transport::Tcp => {
            let Inner {
                client: of_client,
                listener,
            } = (inside.find)(client, destination).ok_or(Reason::Icmp)?;
            let ends = Ends::new(of_client.ip(), listener.ip()).ok_or(Reason::Icmp)?;
            if ends.family() != parsed.family {
                return Err(Reason::Icmp);
            }
            let about = Message {
                kind: header[0],
                code: header[1],
                rest: [header[4], header[5], header[6], header[7]],
            };
            let translated = icmp(ends, about, &quoted.between(listener, of_client));
            let out = &inside.out;
            let sent = out.send(Hop::Host, ends, Transport::Icmp, &translated);
            sent.map_err(|_| Reason::Unwritten)
        }
        Transport::Udp => match (parsed.family, header[0], header[1]) {
            (Family::V6, PACKET_TOO_BIG, _) => {
                let longest = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let longest = usize::try_from(longest).unwrap_or(usize::MAX);
                udp.narrow(client, destination, longest)
            }
            // Only the client itself can know that nobody is at its port.
            (Family::V4, UNREACHABLE_V4, 3) | (Family::V6, UNREACHABLE_V6, 4)
                if parsed.source == client.ip() =>
            {
                udp.gone(client, destination)
            }
            _ => Err(Reason::Icmp),
        },
        Transport::Icmp | Transport::Other(_) => Err(Reason::Icmp),
    }
}

/// RFC 4443, section 3.2.
const PACKET_TOO_BIG: u8 = 2;
