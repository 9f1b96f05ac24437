//! How often one looks for the same namespace, and complains of it: whoever is refused there may try
//! again without end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// When each namespace was last looked for.
#[derive(Debug)]
pub(super) struct Tries {
    again: Duration,
    last: HashMap<u64, Instant>,
}

impl Tries {
    /// With the least time between two looks for one namespace.
    pub(super) fn every(again: Duration) -> Self {
        Self {
            again,
            last: HashMap::new(),
        }
    }

    /// Whether to look for the namespace of a cookie at this time.
    pub(super) fn may(&mut self, cookie: u64, now: Instant) -> bool {
        let Self { again, last: all } = self;
        if all.len() >= MOST {
            all.retain(|_, last| now - *last < *again);
        }
        let is_due = all.get(&cookie).is_none_or(|last| now - *last >= *again);
        let may = is_due && (all.len() < MOST || all.contains_key(&cookie));
        if may {
            all.insert(cookie, now);
        }
        may
    }
}

/// For how many there may be looked in that time.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_secs(1);

    #[test]
    fn a_namespace_is_looked_for_once_in_a_time_and_not_too_many_are() {
        let mut tries = Tries::every(AGAIN);
        let now = Instant::now();
        assert!(tries.may(1, now));
        assert!(!tries.may(1, now + AGAIN / 2));
        assert!(tries.may(1, now + AGAIN));
        for cookie in 2..=MOST as u64 {
            assert!(tries.may(cookie, now + AGAIN));
        }
        assert!(!tries.may(0, now + AGAIN), "a flood");
        assert!(tries.may(0, now + AGAIN * 2));
        assert_eq!(tries.last.len(), 1, "the others are forgotten");
    }
}
