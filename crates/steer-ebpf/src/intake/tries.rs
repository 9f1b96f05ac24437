//! How often one looks for the same namespace: whoever is refused there may try again without end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// When each namespace was last looked for.
#[derive(Debug, Default)]
pub(super) struct Tries(HashMap<u64, Instant>);

impl Tries {
    /// Whether to look for the namespace of a cookie at this time.
    pub(super) fn may(&mut self, cookie: u64, now: Instant) -> bool {
        let Self(all) = self;
        if all.len() >= MOST {
            all.retain(|_, last| now - *last < AGAIN);
        }
        let is_due = all.get(&cookie).is_none_or(|last| now - *last >= AGAIN);
        let may = is_due && (all.len() < MOST || all.contains_key(&cookie));
        if may {
            all.insert(cookie, now);
        }
        may
    }
}

/// The least time between two looks for one namespace.
const AGAIN: Duration = Duration::from_secs(1);

/// For how many there may be looked in that time.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_looked_for_once_a_second_and_not_too_many_are() {
        let mut tries = Tries::default();
        let now = Instant::now();
        assert!(tries.may(1, now));
        assert!(!tries.may(1, now + AGAIN / 2));
        assert!(tries.may(1, now + AGAIN));
        for cookie in 2..=MOST as u64 {
            assert!(tries.may(cookie, now + AGAIN));
        }
        assert!(!tries.may(0, now + AGAIN), "a flood");
        assert!(tries.may(0, now + AGAIN * 2));
        assert_eq!(tries.0.len(), 1, "the others are forgotten");
    }
}
