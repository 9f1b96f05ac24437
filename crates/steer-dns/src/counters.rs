//! What happened in the DNS conversations, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// How often something happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Queries that were forwarded.
    pub forwarded: u64,
    /// Queries that were answered here.
    pub answered: u64,
    /// Datagrams and messages that were no query.
    pub malformed: u64,
    /// Answers that answered another question, or of which nothing could be made.
    pub ignored: u64,
    /// Answers refused because they point at this host or into the pool of made-up addresses.
    pub rebinding: u64,
    /// Answers that were larger than the client takes.
    pub truncated: u64,
    /// Chosen names for which no made-up address was free.
    pub exhausted: u64,
    /// Addresses dialled that are of those made up and stand for no name.
    pub dead: u64,
}

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Forwarded,
    Answered,
    Malformed,
    Ignored,
    Rebinding,
    Truncated,
    Exhausted,
    Dead,
}

#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; 8]);

impl Counters {
    pub(crate) fn add(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |event: Event| self.0[event as usize].load(Ordering::Relaxed);
        Counts {
            forwarded: of(Event::Forwarded),
            answered: of(Event::Answered),
            malformed: of(Event::Malformed),
            ignored: of(Event::Ignored),
            rebinding: of(Event::Rebinding),
            truncated: of(Event::Truncated),
            exhausted: of(Event::Exhausted),
            dead: of(Event::Dead),
        }
    }
}

/// Lets one line a minute through, since whoever sends messages decides how often it is due.
#[derive(Debug, Default)]
pub(crate) struct Throttle(AtomicU64);

impl Throttle {
    pub(crate) fn admits(&self, now: Duration) -> bool {
        let now = now.as_secs();
        let next = self.0.load(Ordering::Relaxed);
        now >= next
            && self
                .0
                .compare_exchange(next, now + PAUSE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Seconds between two lines.
const PAUSE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_is_let_through() {
        let throttle = Throttle::default();
        let at = |seconds| throttle.admits(Duration::from_secs(seconds));
        assert_eq!(
            [100, 100, 159, 160, 161].map(at),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn each_event_has_a_count_of_its_own() {
        let counters = Counters::default();
        counters.add(Event::Dead);
        counters.add(Event::Dead);
        counters.add(Event::Forwarded);
        let expected = Counts {
            dead: 2,
            forwarded: 1,
            ..Counts::default()
        };
        assert_eq!(counters.counts(), expected);
    }
}
