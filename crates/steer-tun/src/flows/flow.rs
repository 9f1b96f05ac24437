//! One connection of TCP on its way through a device.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use steer_core::address::Family;
use steer_core::object::device_address;

use super::StandIn;
use super::numbers::Numbers;
use crate::packet::{Change, Segment};
use crate::wire::Hop;

/// What a connection is told by: who asked, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client.
    pub client: SocketAddr,
    /// Where it wants to go.
    pub destination: SocketAddr,
}

/// Which way a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the listener.
    In,
    /// To the client.
    Out,
}

/// One connection of TCP on its way through a device.
#[derive(Debug)]
pub struct Flow {
    key: Key,
    stand_in: StandIn,
    /// The hardware address of the client's station, and whether it has one.
    station: AtomicU64,
    /// What was seen of it.
    seen: AtomicU8,
    numbers: Numbers,
    /// The sequence number after the FIN, of each end that has sent one.
    ends: [AtomicU32; 2],
    /// When a segment came last, in seconds.
    last: AtomicU32,
    inward: Change,
}

impl Key {
    /// The key of a client and its destination, which are of one family.
    #[must_use]
    pub const fn new(client: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            client,
            destination,
        }
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.client.ip())
    }
}

impl Flow {
    pub(super) fn new(key: Key, stand_in: StandIn, port: u16, hop: Hop, seconds: u32) -> Self {
        let listener = SocketAddr::new(device_address(key.family()), port);
        let flow = Self {
            key,
            stand_in,
            station: AtomicU64::new(0),
            seen: AtomicU8::new(0),
            numbers: Numbers::default(),
            ends: [AtomicU32::new(0), AtomicU32::new(0)],
            last: AtomicU32::new(seconds),
            inward: Change::new(
                (key.client, key.destination),
                (stand_in.address(), listener),
            ),
        };
        flow.is_at(hop);
        flow
    }

    /// Who asked for what.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Who the listener sees in the place of the client.
    #[must_use]
    pub const fn stand_in(&self) -> StandIn {
        self.stand_in
    }

    /// Where the client's packets come from.
    #[must_use]
    pub fn hop(&self) -> Hop {
        let [here, _, station @ ..] = self.station.load(Relaxed).to_be_bytes();
        match here {
            0 => Hop::Host,
            _ => Hop::Station(station),
        }
    }

    /// How a packet that goes this way is changed.
    #[must_use]
    pub fn change(&self, direction: Direction) -> Change {
        match direction {
            Direction::In => self.inward,
            Direction::Out => self.inward.back(),
        }
    }

    /// Whether the client has yet to acknowledge the listener's answer.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        self.seen.load(Relaxed) & (ESTABLISHED | RESET) == 0
    }

    /// Whether it has ended, but for segments that are on their way: a SYN begins another one.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let seen = self.seen.load(Relaxed);
        seen & RESET != 0 || seen & (ENDED | ACKNOWLEDGED) == ENDED | ACKNOWLEDGED
    }

    /// Whether the listener has answered: until then a client has nothing to send but its first segment.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.seen.load(Relaxed) & ANSWERED != 0
    }

    /// Whether the client has reset it: nothing of it goes to the client any more.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.seen.load(Relaxed) & RESET != 0
    }

    /// Whether a segment from the client's side is so near to what was last seen that hardly anybody
    /// else can have made it.
    #[must_use]
    pub fn is_own(&self, segment: &Segment) -> bool {
        self.is_answered()
            && !segment.is(Segment::SYN | Segment::RST)
            && self.numbers.is_near(segment)
    }

    /// Whether nothing more is to be expected of it, at this time.
    #[must_use]
    pub fn is_over(&self, now: u32) -> bool {
        let patience = match (self.has_ended(), self.is_half_open()) {
            (true, _) => ENDED_FOR,
            (false, true) => HALF_OPEN_FOR,
            (false, false) => SILENT_FOR,
        };
        // A time that is yet to come was noted before some were found to have been skipped.
        let last = self.last.load(Relaxed);
        if last > now {
            self.last.fetch_min(now, Relaxed);
        }
        now.saturating_sub(last) > patience
    }

    /// Takes note of where the client's packets come from.
    pub fn is_at(&self, hop: Hop) {
        let station = match hop {
            Hop::Host => 0,
            Hop::Station([a, b, c, d, e, f]) => u64::from_be_bytes([1, 0, a, b, c, d, e, f]),
        };
        set(&self.station, station);
    }

    /// Takes note of a segment that goes this way. Returned is whether it was the connection's last.
    pub fn note(&self, direction: Direction, segment: &Segment, now: u32) -> bool {
        if segment.is(Segment::RST) {
            return match direction {
                // The listener's end is the kernel's, which does not reset what lives on.
                // To a segment of another connection it has another number.
                Direction::Out => !self.is_answered() || self.numbers.is_last(segment),
                Direction::In => self.is_reset_by(segment, now),
            };
        }
        self.is_heard(now);
        let seen = self.seen.load(Relaxed);
        match direction {
            Direction::In if segment.begins() => {
                if seen & BEGUN == 0 {
                    self.numbers.begin(segment);
                    self.seen.fetch_or(BEGUN, Relaxed);
                }
                return false;
            }
            Direction::In if !self.is_own(segment) => return false,
            Direction::In => self.numbers.inward(segment),
            Direction::Out if segment.is(Segment::SYN) => {
                let is_other = self.numbers.answer(segment);
                if is_other || seen & ANSWERED == 0 {
                    self.numbers.answered(segment);
                }
                match is_other {
                    true => self.seen.store(BEGUN | ANSWERED, Relaxed),
                    false => _ = self.seen.fetch_or(ANSWERED, Relaxed),
                }
                return false;
            }
            Direction::Out => self.numbers.outward(segment),
        }
        let (mine, other) = match direction {
            Direction::In => (0, 1),
            Direction::Out => (1, 0),
        };
        let mut then = seen;
        if segment.is(Segment::FIN) {
            self.ends[mine].store(segment.end(), Relaxed);
            then |= ENDED_CLIENT << mine;
        }
        if segment.is(Segment::ACK) {
            if direction == Direction::In {
                then |= ESTABLISHED;
            }
            let end = self.ends[other].load(Relaxed);
            // Distances of sequence numbers are modulo 2^32.
            let has_all = segment.acknowledged.wrapping_sub(end) < 1 << 31;
            if then & (ENDED_CLIENT << other) != 0 && has_all {
                then |= ACKNOWLEDGED_CLIENT << other;
            }
        }
        if then & !seen != 0 {
            self.seen.fetch_or(then, Relaxed);
        }
        false
    }

    /// Takes note of a reset from the client's side, which may be anybody's: one with another number than
    /// the kernel would take has no effect here. Returned is whether it was the connection's last segment.
    fn is_reset_by(&self, reset: &Segment, now: u32) -> bool {
        if self.seen.load(Relaxed) & BEGUN == 0 || !self.numbers.is_next(reset) {
            return false;
        }
        self.is_heard(now);
        let was_half_open = self.is_half_open();
        self.seen.fetch_or(RESET, Relaxed);
        was_half_open
    }

    fn is_heard(&self, now: u32) {
        if self.last.load(Relaxed) != now {
            self.last.store(now, Relaxed);
        }
    }
}

fn set(place: &AtomicU64, value: u64) {
    // A line of memory that is not written stays with every processor.
    if place.load(Relaxed) != value {
        place.store(value, Relaxed);
    }
}

/// The listener has answered.
const ANSWERED: u8 = 1;
/// The client has acknowledged it.
const ESTABLISHED: u8 = 1 << 1;
/// The client has reset it.
const RESET: u8 = 1 << 2;
/// The client has sent its last byte; the next bit is the listener's.
const ENDED_CLIENT: u8 = 1 << 3;
/// The listener has acknowledged it; the next bit is the client's of the listener's.
const ACKNOWLEDGED_CLIENT: u8 = 1 << 5;
/// The client's first segment was seen.
const BEGUN: u8 = 1 << 7;
const ENDED: u8 = ENDED_CLIENT | ENDED_CLIENT << 1;
const ACKNOWLEDGED: u8 = ACKNOWLEDGED_CLIENT | ACKNOWLEDGED_CLIENT << 1;

/// How long one that has ended stays, for the last segments, in seconds.
const ENDED_FOR: u32 = 3;

/// How long one may have only begun, in seconds.
const HALF_OPEN_FOR: u32 = 30;

/// How long one may be silent, in seconds: the engine's end is asked every 45 for a sign of life.
const SILENT_FOR: u32 = 600;
