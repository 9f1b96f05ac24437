//! Keeps the engine from talking to itself.
//!
//! Two guards, because two things can be misconfigured. A destination or an upstream may be one of
//! the engine's own listeners, in any spelling; and the bypass may not work, so that the engine's
//! own dials are steered back to it. The first is seen before the dial, the second when the dialled
//! connection comes in: it has the address of a live dial and wants to go where that dial went.
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steer_core::address::{Family, Protocol, canonical};
use steer_core::netns::MakeSockets;

use crate::upstream::SocketFactory;

/// The engine's own addresses: where it listens, and what it has dialled.
#[derive(Debug)]
pub(crate) struct Loops {
    listeners: Vec<SocketAddr>,
    returning: Returning,
    dials: [Mutex<HashSet<Dial>>; SHARDS],
    hasher: RandomState,
}

/// Whether what the engine dials can come to one of its intakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returning {
    Possible,
    /// They are in another network, where addresses have another meaning.
    Impossible,
}

/// A network in which addresses mean what they mean: the engine's own, or one of programs for whom
/// it dials from there. Equal addresses in two of them are different ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place(usize);

impl Place {
    /// Where these sockets are made. A method has one maker a network.
    pub(crate) fn of(inside: &Arc<dyn MakeSockets>) -> Self {
        Self(Arc::as_ptr(inside).cast::<()>().addr())
    }
}

/// Place, source and destination of a dial, hashed with this engine's secret key: an eighth of the room,
/// and two that are alike by chance are rarer than memory errors.
type Dial = u64;

/// Locks that the dials are spread over.
const SHARDS: usize = 16;

/// A live dial; dropping it forgets the dial.
#[derive(Debug)]
pub(crate) struct Claim {
    loops: Arc<Loops>,
    dial: Option<Dial>,
}

impl Loops {
    pub(crate) fn new(listeners: Vec<SocketAddr>, returning: Returning) -> Self {
        let listeners = listeners.into_iter().map(canonical).collect();
        Self {
            listeners,
            returning,
            dials: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Whether dialling an address would reach one of our listeners.
    pub(crate) fn leads_back(&self, to: SocketAddr, sockets: &dyn SocketFactory) -> bool {
        let to = canonical(to);
        let same_port = || {
            self.listeners
                .iter()
                .filter(|listener| listener.port() == to.port())
        };
        // The port decides nearly always; only then is the host asked about the address.
        same_port().next().is_some() && {
            let target = reached(to.ip());
            same_port().any(|listener| match listener.ip() {
                own if own.is_unspecified() => is_local(target, sockets),
                own => own == target,
            })
        }
    }

    /// Notes a dial for as long as the claim lives.
    pub(crate) fn claim(
        self: &Arc<Self>,
        place: Place,
        protocol: Protocol,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Claim {
        let dial = from
            .filter(|_| self.returning == Returning::Possible)
            .map(|from| self.dial(place, protocol, from, to));
        if let Some(dial) = dial {
            self.shard(dial).insert(dial);
        }
        Claim {
            loops: Arc::clone(self),
            dial,
        }
    }

    /// Whether a connection that came in is one of our own dials.
    pub(crate) fn is_ours(
        &self,
        place: Place,
        protocol: Protocol,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> bool {
        let dial = self.dial(place, protocol, client, destination);
        self.shard(dial).contains(&dial)
    }

    fn dial(&self, place: Place, protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Dial {
        self.hasher
            .hash_one((place, protocol, canonical(from), canonical(to)))
    }

    fn shard(&self, dial: Dial) -> MutexGuard<'_, HashSet<Dial>> {
        let index = usize::try_from(dial % SHARDS as u64).expect("less than SHARDS");
        // A set is valid after every statement, so a panic elsewhere leaves nothing half done.
        self.dials[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(dial) = self.dial {
            self.loops.shard(dial).remove(&dial);
        }
    }
}

/// The address that a connect to `ip` goes to: the unspecified ones mean loopback.
fn reached(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether an address is this host's, as its routing sees it: to a local address the source is
/// that address itself, or loopback. Connecting a UDP socket sends nothing.
fn is_local(ip: IpAddr, sockets: &dyn SocketFactory) -> bool {
    if ip.is_loopback() {
        return true;
    }
    // Asked where the dial would start: the engine may dial in another namespace.
    let source = || {
        let socket = sockets.udp(Family::of(ip))?;
        socket.connect(&SocketAddr::new(ip, 9).into())?;
        Ok::<_, io::Error>(socket.local_addr()?.as_socket())
    };
    source()
        .ok()
        .flatten()
        .is_some_and(|source| source.ip() == ip || source.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use steer_core::netns::Inside;

    use super::*;
    use crate::upstream::PlainSockets;

    const HERE: Place = Place(0);

    fn loops(listener: &str) -> Arc<Loops> {
        Arc::new(Loops::new(
            vec![listener.parse().unwrap()],
            Returning::Possible,
        ))
    }

    fn leads_back(listener: &str, to: &str) -> bool {
        loops(listener).leads_back(to.parse().unwrap(), &PlainSockets)
    }

    #[test]
    fn a_listener_is_known_in_every_spelling() {
        for to in [
            "127.0.0.1:15001",
            "0.0.0.0:15001",
            "[::ffff:127.0.0.1]:15001",
            "[::ffff:0.0.0.0]:15001",
        ] {
            assert!(leads_back("127.0.0.1:15001", to), "{to}");
            assert!(leads_back("0.0.0.0:15001", to), "{to}");
            assert!(leads_back("[::ffff:127.0.0.1]:15001", to), "{to}");
        }
        for to in ["[::1]:15001", "[::]:15001"] {
            assert!(leads_back("[::1]:15001", to), "{to}");
            assert!(leads_back("[::]:15001", to), "{to}");
        }
        assert!(leads_back("0.0.0.0:15001", "127.9.9.9:15001"));
        // A wildcard IPv6 listener may serve IPv4 too.
        assert!(leads_back("[::]:15001", "127.0.0.1:15001"));
    }

    #[test]
    fn other_ports_and_hosts_are_no_loop() {
        assert!(!leads_back("127.0.0.1:15001", "127.0.0.1:15002"));
        assert!(!leads_back("127.0.0.1:15001", "127.0.0.2:15001"));
        assert!(!leads_back("127.0.0.1:15001", "192.0.2.1:15001"));
        assert!(!leads_back("0.0.0.0:15001", "192.0.2.1:15001"));
    }

    #[test]
    fn a_dial_that_comes_back_is_known_while_it_lives() {
        let loops = loops("127.0.0.1:15001");
        let (from, to) = (
            "192.0.2.1:40000".parse().unwrap(),
            "192.0.2.2:443".parse().unwrap(),
        );
        let claim = loops.claim(HERE, Protocol::Tcp, Some(from), to);
        assert!(loops.is_ours(
            HERE,
            Protocol::Tcp,
            "[::ffff:192.0.2.1]:40000".parse().unwrap(),
            to
        ));
        assert!(!loops.is_ours(HERE, Protocol::Tcp, from, "192.0.2.3:443".parse().unwrap()));
        assert!(!loops.is_ours(HERE, Protocol::Udp, from, to));
        drop(claim);
        assert!(!loops.is_ours(HERE, Protocol::Tcp, from, to));
    }

    #[test]
    fn a_dial_is_known_where_it_was_made_and_nowhere_else() {
        let there = || Arc::new(Inside::here()) as Arc<dyn MakeSockets>;
        let (first, second) = (there(), there());
        let loops = loops("127.0.0.1:15001");
        let (from, to) = (
            "127.0.0.1:40000".parse().unwrap(),
            "127.0.0.1:443".parse().unwrap(),
        );
        let place = Place::of(&first);
        let _claim = loops.claim(place, Protocol::Tcp, Some(from), to);
        assert!(loops.is_ours(Place::of(&Arc::clone(&first)), Protocol::Tcp, from, to));
        for elsewhere in [HERE, Place::of(&second)] {
            assert!(!loops.is_ours(elsewhere, Protocol::Tcp, from, to));
        }
    }

    #[test]
    fn addresses_of_another_network_are_no_dial_of_ours() {
        let loops = Arc::new(Loops::new(Vec::new(), Returning::Impossible));
        let (from, to) = (
            "127.0.0.1:40000".parse().unwrap(),
            "127.0.0.1:443".parse().unwrap(),
        );
        let _claim = loops.claim(HERE, Protocol::Tcp, Some(from), to);
        assert!(!loops.is_ours(HERE, Protocol::Tcp, from, to));
    }
}
