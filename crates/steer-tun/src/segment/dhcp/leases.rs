//! Which client has which address of the network.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{LEASE, mask};

/// The addresses of a network and who has them.
///
/// A client keeps its address for as long as nobody else needs it, and gets the same one again after
/// a restart of the engine where that is possible: the first choice follows from its identity.
#[derive(Debug)]
pub(super) struct Leases {
    first: u32,
    /// How many addresses there are from the first one on, the gateway's included.
    count: u32,
    own: Ipv4Addr,
    by_client: HashMap<Vec<u8>, Lease>,
    by_address: HashMap<Ipv4Addr, Holder>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    address: Ipv4Addr,
    until: Instant,
    /// Whether the client has taken it.
    bound: bool,
}

#[derive(Clone, Debug)]
enum Holder {
    Client(Vec<u8>),
    /// A client says that somebody else uses it.
    DeclinedUntil(Instant),
}

impl Leases {
    /// The addresses of the network of the gateway.
    pub(super) fn new(own: Ipv4Addr, length: u8) -> Self {
        let network = u32::from(own) & mask(length);
        let last = network | !mask(length);
        let (first, count) = match length {
            // The first one names the network and the last one all of it.
            0..=30 => (network + 1, last - network - 1),
            // Two ends (RFC 3021), or the gateway alone.
            _ => (network, last - network + 1),
        };
        Self {
            first,
            count,
            own,
            by_client: HashMap::new(),
            by_address: HashMap::new(),
        }
    }

    /// An address for a client: the one it has, the one it wants, or the first free one from where
    /// its identity says.
    pub(super) fn offer(
        &mut self,
        client: &[u8],
        wanted: Option<Ipv4Addr>,
        is_taken: impl Fn(Ipv4Addr) -> bool,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        let held = self.by_client.get(client).copied();
        if let Some(lease) = held
            && !is_taken(lease.address)
        {
            if !lease.bound {
                self.hold(client, lease.address, now + OFFER, false);
            }
            return Some(lease.address);
        }
        let is_free = |address: &Ipv4Addr| self.is_free(*address, now) && !is_taken(*address);
        let start = hash(client) % self.count;
        let probes = (0..self.count.min(PROBES_MOST)).map(|step| {
            let place = (u64::from(start) + u64::from(step)) % u64::from(self.count);
            Ipv4Addr::from(self.first + place as u32)
        });
        let found = wanted.into_iter().chain(probes).find(is_free);
        let address = match found {
            Some(address) if self.by_client.len() < CLIENTS_MOST || held.is_some() => address,
            _ => self.reclaim(now)?,
        };
        self.hold(client, address, now + OFFER, false);
        Some(address)
    }

    /// Gives a client the address that it asks for; whether it can have it.
    pub(super) fn bind(
        &mut self,
        client: &[u8],
        address: Ipv4Addr,
        is_taken: impl Fn(Ipv4Addr) -> bool,
        now: Instant,
    ) -> bool {
        let is_theirs = self
            .by_client
            .get(client)
            .is_some_and(|lease| lease.address == address);
        let has_room = self.by_client.contains_key(client) || self.by_client.len() < CLIENTS_MOST;
        let may = is_theirs || (has_room && self.is_free(address, now));
        if !may || is_taken(address) {
            return false;
        }
        self.hold(client, address, now + LEASE, true);
        true
    }

    /// Gives up an offer that a client has not taken.
    pub(super) fn withdraw(&mut self, client: &[u8], now: Instant) {
        if let Some(lease) = self.by_client.get_mut(client)
            && !lease.bound
        {
            lease.until = now;
        }
    }

    /// Lets others have an address that its client gives back.
    pub(super) fn release(&mut self, client: &[u8], address: Ipv4Addr, now: Instant) {
        if let Some(lease) = self.by_client.get_mut(client)
            && lease.address == address
        {
            lease.until = now;
        }
    }

    /// Lets nobody have an address for a while that its client has found in use.
    pub(super) fn decline(&mut self, client: &[u8], address: Ipv4Addr, now: Instant) {
        let is_theirs = |lease: &&Lease| lease.address == address;
        if self.by_client.get(client).filter(is_theirs).is_some() {
            self.by_client.remove(client);
            let declined = Holder::DeclinedUntil(now + DECLINED);
            self.by_address.insert(address, declined);
        }
    }

    fn hold(&mut self, client: &[u8], address: Ipv4Addr, until: Instant, bound: bool) {
        let lease = Lease {
            address,
            until,
            bound,
        };
        if let Some(before) = self.by_client.insert(client.to_vec(), lease) {
            self.by_address.remove(&before.address);
        }
        let holder = Holder::Client(client.to_vec());
        if let Some(Holder::Client(other)) = self.by_address.insert(address, holder)
            && other != client
        {
            self.by_client.remove(&other);
        }
    }

    fn is_free(&self, address: Ipv4Addr, now: Instant) -> bool {
        let place = u32::from(address).checked_sub(self.first);
        if address == self.own || place.is_none_or(|place| place >= self.count) {
            return false;
        }
        match self.by_address.get(&address) {
            None => true,
            // Whose lease has ended may come back for it; [`Self::reclaim`] takes it if need be.
            Some(Holder::Client(_)) => false,
            Some(Holder::DeclinedUntil(until)) => *until <= now,
        }
    }

    /// The address of the client that has been away for longest, which loses it.
    fn reclaim(&mut self, now: Instant) -> Option<Ipv4Addr> {
        let ended = self
            .by_client
            .iter()
            .filter(|(_, lease)| lease.until <= now);
        let (client, lease) = ended.min_by_key(|(_, lease)| lease.until)?;
        let (client, address) = (client.clone(), lease.address);
        self.by_client.remove(&client);
        self.by_address.remove(&address);
        Some(address)
    }
}

/// FNV-1a: a place that is always the same for the same client.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// How long an offer is held for its client.
const OFFER: Duration = Duration::from_secs(60);

/// How long nobody gets an address that was found in use.
const DECLINED: Duration = Duration::from_secs(600);

/// How many clients are remembered; a network may have more addresses.
const CLIENTS_MOST: usize = 4096;

/// How many addresses are tried before one is reclaimed: more than can be held, declined or known to
/// be in use.
const PROBES_MOST: u32 = 16_384;
