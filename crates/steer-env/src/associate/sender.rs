//! Whose datagrams a UDP port takes.
//!
//! A datagram brings no login. What was asked for on the connection holds for its client alone: the
//! same address, the port that it named or uses first, and on this host the same user.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use steer_core::address::ClientAddr;
use steer_core::datagram::{Arrival, Framing};

use super::header::Target;
use crate::owner::udp_owners;

/// Tells the client's datagrams from those of others.
#[derive(Debug)]
pub(super) struct Sender {
    ip: IpAddr,
    /// The port that the client said it will use.
    claim: Option<u16>,
    /// The user who opened the connection, where that happened on this host.
    owner: Option<u32>,
    at: SocketAddr,
    /// Where the client sends from, once it has.
    known: OnceLock<SocketAddr>,
    /// When somebody else was last found out.
    stranger: Mutex<Option<Instant>>,
}

impl Sender {
    pub(super) fn new(
        client: ClientAddr,
        claim: Option<u16>,
        owner: Option<u32>,
        at: SocketAddr,
    ) -> Self {
        Self {
            ip: client.0.ip().to_canonical(),
            claim,
            owner,
            at,
            known: OnceLock::new(),
            stranger: Mutex::new(None),
        }
    }

    fn is_client(&self, from: SocketAddr) -> bool {
        if let Some(known) = self.known.get() {
            return known.port() == from.port() && known.ip() == from.ip();
        }
        let admitted = from.ip().to_canonical() == self.ip
            && self.claim.is_none_or(|port| port == from.port())
            && self.is_owner(from);
        admitted && self.known.set(from).is_ok()
    }

    /// Whether the datagram is of the user who opened the connection: on this host, every user can
    /// send from the same address.
    fn is_owner(&self, from: SocketAddr) -> bool {
        let Some(owner) = self.owner else { return true };
        let mut stranger = self.stranger.lock().unwrap_or_else(PoisonError::into_inner);
        if stranger.is_some_and(|last| last.elapsed() < PAUSE) {
            return false;
        }
        let owners = udp_owners(from, self.at);
        let same = !owners.is_empty() && owners.iter().all(|uid| *uid == owner);
        if !same {
            *stranger = Some(Instant::now());
        }
        same
    }
}

impl Framing for Sender {
    type Key = Target;

    fn flow<'a>(&self, arrival: Arrival<'a>) -> Option<(Target, &'a [u8])> {
        let (target, payload) = Target::parse(arrival.datagram)?;
        // Only a datagram that could be passed on shows where the client sends from.
        self.is_client(arrival.client).then_some((target, payload))
    }

    fn header(&self, target: &Target) -> Vec<u8> {
        target.header()
    }
}

/// How long strangers' datagrams are dropped unseen after one was found out: the table of sockets
/// is not read for each one of a flood.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const DATAGRAM: &[u8] = b"\0\0\0\x01\xc0\0\x02\x01\0\x35payload";

    #[test]
    fn on_one_host_another_users_datagrams_are_not_the_clients() {
        let me = nix::unistd::geteuid().as_raw();
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (relay, socket, closed) = (bind(), bind(), bind().local_addr().unwrap());
        let (at, from) = (relay.local_addr().unwrap(), socket.local_addr().unwrap());
        let sender = |owner| {
            let client = ClientAddr("127.0.0.1:9".parse().unwrap());
            Sender::new(client, None, owner, at)
        };
        let heard = |sender: &Sender, client| {
            let arrival = Arrival {
                client,
                destination: Some(at),
                datagram: DATAGRAM,
            };
            sender.flow(arrival).is_some()
        };
        assert!(!heard(&sender(Some(me + 1)), from));
        assert!(
            heard(&sender(None), closed),
            "nobody of this host connected"
        );

        let own = sender(Some(me));
        assert!(!heard(&own, closed), "nobody is there to be the client");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !heard(&own, from) {
            assert!(
                Instant::now() < deadline,
                "the client is heard after a stranger"
            );
        }
        assert!(!heard(&own, closed));
        assert!(heard(&own, from));
    }
}
