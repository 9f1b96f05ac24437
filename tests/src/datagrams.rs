//! A UDP client of the kind that a method has.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use lab::{Client, Failure, Family, Host, UdpClient};

use crate::speech::associate;
use crate::zone::Zone;

/// A socket whose datagrams are steered: a plain one, one that speaks SOCKS5, or one whose
/// program asks by name.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpClient,
    /// The port that relays datagrams, and the connection that keeps it.
    relay: Option<(SocketAddr, Client)>,
    /// The names of addresses, and what was answered for them.
    named: Option<(Arc<Zone>, Mutex<Answers>)>,
}

/// The destinations that the addresses of answers stand for.
type Answers = HashMap<SocketAddr, SocketAddr>;

impl Datagrams {
    /// A plain socket.
    pub(crate) fn plain(socket: UdpClient) -> Self {
        Self {
            socket,
            relay: None,
            named: None,
        }
    }

    /// A plain socket of a program that asks by name.
    pub(crate) fn named(host: &Host, zone: &Arc<Zone>) -> Self {
        Self {
            // No name has an address of IPv6.
            socket: host.udp(Family::V4),
            relay: None,
            named: Some((Arc::clone(zone), Mutex::default())),
        }
    }

    /// A socket that was associated at a SOCKS5 port (RFC 1928, section 7).
    pub(crate) fn associated(host: &Host, entrance: SocketAddr) -> Self {
        let mut control = host.connect(entrance).expect("the port is there");
        let relay = associate(&mut control).expect("datagrams are carried");
        Self {
            socket: host.udp(Family::of(relay.ip())),
            relay: Some((relay, control)),
            named: None,
        }
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Why it was not sent, or what befell an earlier one.
    pub fn send_to(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Failure> {
        match (&self.relay, &self.named) {
            (Some((relay, _)), _) => self.socket.send_to(*relay, &[&head(to), bytes].concat()),
            (None, Some((zone, known))) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let found = known.iter().find(|(_, meant)| **meant == to);
                let at = found.map_or_else(|| zone.entrance(to), |(at, _)| *at);
                known.insert(at, to);
                self.socket.send_to(at, bytes)
            }
            (None, None) => self.socket.send_to(to, bytes),
        }
    }

    /// Receives a datagram and tells whom it came from.
    ///
    /// # Errors
    /// That none came in time, or what befell an earlier one that was sent.
    pub fn receive(&self) -> Result<(Vec<u8>, SocketAddr), Failure> {
        let (bytes, from) = self.socket.receive()?;
        if let Some((_, known)) = &self.named {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok((bytes, *known.get(&from).expect("somebody who was asked")));
        }
        let Some((relay, _)) = &self.relay else {
            return Ok((bytes, from));
        };
        assert_eq!(from, *relay, "datagrams come through the relay alone");
        let (from, length) = origin(&bytes).expect("a head of SOCKS5");
        Ok((bytes[length..].to_vec(), from))
    }

    /// Sends a datagram and receives one.
    ///
    /// # Errors
    /// As both of them.
    pub fn ask(&self, to: SocketAddr, bytes: &[u8]) -> Result<(Vec<u8>, SocketAddr), Failure> {
        self.send_to(to, bytes)?;
        self.receive()
    }

    /// The most that a datagram to an address may carry.
    pub fn largest(&self, to: SocketAddr) -> usize {
        let family = match &self.relay {
            None if self.named.is_some() => Family::V4,
            None => Family::of(to.ip()),
            Some((relay, _)) => Family::of(relay.ip()),
        };
        let room = match family {
            Family::V4 => 65_507,
            Family::V6 => 65_487,
        };
        room - self.relay.as_ref().map_or(0, |_| head(to).len())
    }
}

fn head(to: SocketAddr) -> Vec<u8> {
    let address = match to.ip() {
        IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
    };
    [&[0, 0, 0][..], &address, &to.port().to_be_bytes()].concat()
}

/// Whom a relayed datagram is from, and the length of the head that says it.
fn origin(bytes: &[u8]) -> Option<(SocketAddr, usize)> {
    let (ip, end): (IpAddr, usize) = match bytes.get(3)? {
        1 => (<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?.into(), 8),
        4 => (<[u8; 16]>::try_from(bytes.get(4..20)?).ok()?.into(), 20),
        _ => return None,
    };
    let port = u16::from_be_bytes(bytes.get(end..end + 2)?.try_into().ok()?);
    Some((SocketAddr::new(ip, port), end + 2))
}
