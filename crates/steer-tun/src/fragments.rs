//! Fragments, put together again.
//!
//! A packet is given up with its first doubt: fragments that overlap (RFC 5722), that say two ends, or
//! that make more than a packet holds. What is given up is remembered until its time is over, so that
//! later fragments do not begin it anew.

mod packet;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steer_core::address::Family;

use crate::packet::{Counters, Fragment, Parsed, Reason};

use packet::{Added, Pieces};

/// Packets of which some fragments came.
#[derive(Debug)]
pub struct Fragments {
    counters: Arc<Counters>,
    limits: FragmentLimits,
    state: Mutex<State>,
}

/// How much there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Bytes of all packets together, with what it costs to keep them.
    pub bytes: usize,
    /// Packets of one source address.
    pub source: usize,
    /// How long a packet may take from its first fragment to come on.
    pub wait: Duration,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self {
            bytes: 2 << 20,
            source: 64,
            wait: Duration::from_secs(15),
        }
    }
}

/// What the fragments of a packet have in common (RFC 791, RFC 8200).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// Of IPv4 alone: in IPv6 the first fragment says it.
    protocol: u8,
}

#[derive(Debug, Default)]
struct State {
    packets: HashMap<Key, Waiting>,
    /// By when they began, first one first.
    order: BTreeMap<u64, Key>,
    next: u64,
    sources: HashMap<IpAddr, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    began: Instant,
    turn: u64,
    pieces: Pieces,
    /// How many fragments came.
    count: u64,
}

impl Fragments {
    /// None yet. Those whose packet never comes on are counted when their time is over.
    #[must_use]
    pub fn new(limits: FragmentLimits, counters: Arc<Counters>) -> Self {
        Self {
            counters,
            limits,
            state: Mutex::default(),
        }
    }

    /// Takes a fragment, and gives the packet that it makes whole: to be parsed anew, with nothing
    /// known of its checksum.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn add(
        &self,
        packet: &[u8],
        parsed: &Parsed,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, Reason> {
        let fragment = parsed.fragment.ok_or(Reason::Fragments)?;
        let (start, end) = (parsed.start, parsed.end);
        let piece = packet.get(start..end).ok_or(Reason::Length)?;
        if !is_sound(&fragment, piece.len()) {
            return Err(Reason::Fragments);
        }
        let first = (fragment.offset == 0).then(|| packet::Front::of(&packet[..start], parsed));
        let first = first.transpose()?;
        if let (Some(front), false) = (&first, fragment.more) {
            // A packet in one fragment has nothing to do with others of its number (RFC 6946).
            return front.whole(piece).map(Some);
        }
        self.state().add(self, parsed, fragment, first, piece, now)
    }

    /// Gives up packets that take too long; to be called now and then.
    pub fn sweep(&self, now: Instant) {
        let mut state = self.state();
        while let Some((_, key)) = state.order.first_key_value() {
            let key = *key;
            let began = state.packets.get(&key).map(|waiting| waiting.began);
            let over =
                began.is_none_or(|began| now.saturating_duration_since(began) >= self.limits.wait);
            if !over {
                return;
            }
            self.give_up(&mut state, &key);
        }
    }

    /// What it costs to keep the fragments that there are, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Removes a packet and counts its fragments, but those that were counted when it was poisoned.
    fn give_up(&self, state: &mut State, key: &Key) {
        if let Some(waiting) = state.remove(key) {
            for _ in 0..waiting.count {
                self.counters.count(Reason::Incomplete);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole before anything that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(
        &mut self,
        of: &Fragments,
        parsed: &Parsed,
        fragment: Fragment,
        front: Option<packet::Front>,
        piece: &[u8],
        now: Instant,
    ) -> Result<Option<Vec<u8>>, Reason> {
        let key = Key {
            source: parsed.source,
            destination: parsed.destination,
            id: fragment.id,
            protocol: match parsed.family {
                Family::V4 => parsed.transport.number(parsed.family),
                Family::V6 => 0,
            },
        };
        let late =
            |waiting: &Waiting| now.saturating_duration_since(waiting.began) >= of.limits.wait;
        if self.packets.get(&key).is_some_and(late) {
            of.give_up(self, &key);
        }
        if !self.packets.contains_key(&key) {
            let of_source = self.sources.get(&key.source).copied().unwrap_or(0);
            if of_source >= of.limits.source {
                return Err(Reason::Incomplete);
            }
            self.begin(key, now);
        }
        let cost = PIECE + piece.len() + front.as_ref().map_or(0, packet::Front::len);
        // Whoever waits longest makes room.
        while self.bytes + cost > of.limits.bytes {
            match self.order.first_key_value().map(|(_, oldest)| *oldest) {
                Some(oldest) if oldest != key => of.give_up(self, &oldest),
                _ => {
                    of.give_up(self, &key);
                    return Err(Reason::Incomplete);
                }
            }
        }
        let waiting = self.packets.get_mut(&key).expect("it was found or begun");
        let before = waiting.pieces.cost();
        let added = waiting.pieces.add(fragment, front, piece);
        let after = waiting.pieces.cost();
        if matches!(added, Added::Waits) {
            waiting.count += 1;
        }
        let lost = match added {
            // What came before is of no use any more, and is counted with what spoiled it.
            Added::Spoiled => std::mem::take(&mut waiting.count),
            _ => 0,
        };
        self.bytes = self.bytes + after - before;
        match added {
            Added::Waits | Added::Known => Ok(None),
            Added::Whole(whole) => {
                self.remove(&key);
                whole.map(Some)
            }
            Added::Spoiled => {
                for _ in 0..lost {
                    of.counters.count(Reason::Fragments);
                }
                Err(Reason::Fragments)
            }
        }
    }

    fn begin(&mut self, key: Key, now: Instant) {
        let pieces = Pieces::default();
        self.bytes += PACKET + pieces.cost();
        *self.sources.entry(key.source).or_default() += 1;
        let turn = self.next;
        self.next += 1;
        self.order.insert(turn, key);
        let waiting = Waiting {
            began: now,
            turn,
            pieces,
            count: 0,
        };
        self.packets.insert(key, waiting);
    }

    fn remove(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.packets.remove(key)?;
        self.order.remove(&waiting.turn);
        self.bytes -= PACKET + waiting.pieces.cost();
        if let Some(count) = self.sources.get_mut(&key.source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&key.source);
            }
        }
        Some(waiting)
    }
}

/// Whether a fragment can be part of any packet: all but the last have a multiple of 8 bytes, none is
/// empty, and none goes beyond what a packet holds.
fn is_sound(fragment: &Fragment, length: usize) -> bool {
    let whole = !fragment.more || length.is_multiple_of(8);
    let alone = fragment.offset == 0 && !fragment.more;
    (length > 0 || alone) && whole && fragment.offset + length <= usize::from(u16::MAX)
}

/// What it costs to keep a packet, beside its fragments.
const PACKET: usize = 256;

/// What it costs to keep a fragment, beside its bytes.
const PIECE: usize = 64;

#[cfg(test)]
mod tests;
