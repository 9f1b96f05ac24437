//! The connections of TCP that are on their way through a device, and who stands for whose client.
//!
//! ```text
//! client S:sp ─> destination D:dp      ── a flow ──      stand-in X:xp ─> listener T:port
//! ```

use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod flow;
mod half_open;
mod numbers;
mod sharded;
mod stand_in;

pub use flow::{Direction, Flow, Key};
pub use stand_in::StandIn;

use half_open::HalfOpen;
use sharded::Sharded;

use crate::wire::Hop;

/// Every connection of TCP that is on its way through a device.
///
/// ```
/// use std::time::Instant;
/// use steer_tun::flows::{Flows, Key};
/// use steer_tun::wire::Hop;
///
/// let flows = Flows::new(1000, 15001);
/// let key = Key::new("10.0.0.2:40000".parse()?, "203.0.113.7:443".parse()?);
/// let flow = flows.begin(key, Hop::Host, Instant::now()).expect("there is room");
/// let stand_in = flow.stand_in().address();
/// assert_eq!(flows.behind(stand_in).map(|flow| flow.key()), Some(key));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Flows {
    by_key: Sharded<Key>,
    by_stand_in: Sharded<StandIn>,
    /// The next number to try; numbers are used in turn, so that one rests before it is used again.
    next: AtomicU32,
    count: AtomicUsize,
    most: usize,
    /// The listener's.
    port: u16,
    half_open: Mutex<HalfOpen>,
    began: Instant,
    /// When it was last swept, in seconds since it began.
    swept: AtomicU32,
    /// Seconds that passed while nobody swept.
    skipped: AtomicU32,
}

impl Flows {
    /// None yet; so many at most, to a listener with this port.
    #[must_use]
    pub fn new(most: usize, port: u16) -> Self {
        Self {
            port,
            by_key: Sharded::new(),
            by_stand_in: Sharded::new(),
            next: AtomicU32::new(0),
            count: AtomicUsize::new(0),
            most: most.min(StandIn::COUNT as usize / 2),
            half_open: Mutex::new(HalfOpen::default()),
            began: Instant::now(),
            swept: AtomicU32::new(0),
            skipped: AtomicU32::new(0),
        }
    }

    /// The listener's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one of a client and its destination.
    #[must_use]
    pub fn of(&self, key: &Key) -> Option<Arc<Flow>> {
        self.by_key.get(key)
    }

    /// The one that the listener sees under this address.
    #[must_use]
    pub fn behind(&self, stand_in: SocketAddr) -> Option<Arc<Flow>> {
        let stand_in = StandIn::at(stand_in)?;
        self.by_stand_in.get(&stand_in)
    }

    /// The seconds of a time, as flows note them: those in which the process stood still do not count.
    #[must_use]
    pub fn seconds(&self, now: Instant) -> u32 {
        self.passed(now).saturating_sub(self.skipped.load(Relaxed))
    }

    fn passed(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.began).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// Begins one, unless there is one with that key already, which it then is; none where there is no
    /// room. Where too many are half open, the oldest of these ends.
    pub fn begin(&self, key: Key, hop: Hop, now: Instant) -> Option<Arc<Flow>> {
        let flow = {
            let mut shard = self.by_key.shard(&key);
            let place = match shard.entry(key) {
                Entry::Occupied(there) => return Some(Arc::clone(there.get())),
                Entry::Vacant(place) => place,
            };
            if self.count.fetch_add(1, Relaxed) >= self.most {
                self.count.fetch_sub(1, Relaxed);
                return None;
            }
            let Some(flow) = self.stand_in_for(key, hop, self.seconds(now)) else {
                self.count.fetch_sub(1, Relaxed);
                return None;
            };
            place.insert(Arc::clone(&flow));
            flow
        };
        let oldest = self.half_open().add(&flow);
        for flow in oldest {
            self.end(&flow);
        }
        Some(flow)
    }

    /// Gives a flow the next number that nobody has.
    fn stand_in_for(&self, key: Key, hop: Hop, seconds: u32) -> Option<Arc<Flow>> {
        for _ in 0..TRIES {
            let number = self.next.fetch_add(1, Relaxed) % StandIn::COUNT;
            let stand_in = StandIn::new(key.family(), number)?;
            let mut shard = self.by_stand_in.shard(&stand_in);
            if let Entry::Vacant(place) = shard.entry(stand_in) {
                let flow = Arc::new(Flow::new(key, stand_in, self.port, hop, seconds));
                place.insert(Arc::clone(&flow));
                return Some(flow);
            }
        }
        None
    }

    /// Ends one: what comes of it from then on is of no connection.
    pub fn end(&self, flow: &Arc<Flow>) {
        let removed = self.by_key.remove(&flow.key(), flow);
        let stand_in = flow.stand_in();
        self.by_stand_in.remove(&stand_in, flow);
        if removed {
            self.count.fetch_sub(1, Relaxed);
        }
    }

    /// Ends those that are over or silent for too long; to be called [every second](SWEEP_EVERY).
    ///
    /// Where it was not called for long, neither were packets read: flows were not silent, nobody heard.
    pub fn sweep(&self, now: Instant) {
        let passed = self.passed(now);
        let gap = passed.saturating_sub(self.swept.fetch_max(passed, Relaxed));
        if gap > GAP_MOST {
            self.skipped.fetch_add(gap, Relaxed);
        }
        let now = self.seconds(now);
        for flow in self.by_key.those(|flow| flow.is_over(now)) {
            self.end(&flow);
        }
        self.by_key.shrink();
        self.by_stand_in.shrink();
    }

    fn half_open(&self) -> MutexGuard<'_, HalfOpen> {
        // Valid after every statement.
        self.half_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often flows are looked at for those that are over.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Seconds between two sweeps that a busy host may need.
const GAP_MOST: u32 = 5;

/// Numbers that are tried for one flow.
const TRIES: usize = 4096;

#[cfg(test)]
mod tests;
