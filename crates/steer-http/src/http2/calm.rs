//! Whether a client resets streams faster than anybody has reason to.

use tokio::time::Instant;

use super::exchange::Left;

/// Counts the streams that a client reset before they were answered. Answered ones and time take
/// from the count.
pub(super) struct Calm {
    resets: u32,
    since: Instant,
}

/// How many resets may come at once: whoever shuts a busy page or a crowd of calls has that many.
const BURST: u32 = 1000;
/// How many are forgotten each second.
const RATE: u64 = 50;

impl Calm {
    /// Begins to count.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            resets: 0,
            since: now,
        }
    }

    /// Notes how an exchange was left, and tells whether it was one too many.
    pub(super) fn flooded(&mut self, left: &Left, now: Instant) -> bool {
        if !left.abandoned {
            self.resets = self.resets.saturating_sub(1);
            return false;
        }
        let seconds = now.duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since = now;
            let forgotten = u32::try_from(seconds.saturating_mul(RATE)).unwrap_or(u32::MAX);
            self.resets = self.resets.saturating_sub(forgotten);
        }
        self.resets += 1;
        self.resets > BURST
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn abandoned() -> Left {
        Left {
            abandoned: true,
            ..Left::default()
        }
    }

    #[test]
    fn a_burst_of_resets_is_a_flood_and_a_trickle_is_none() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        let floods = (0..=BURST).filter(|_| calm.flooded(&abandoned(), start));
        assert_eq!(floods.count(), 1, "the last one is too many");

        let mut calm = Calm::new(start);
        for second in 0..1000 {
            for _ in 0..RATE {
                let now = start + Duration::from_secs(second);
                assert!(!calm.flooded(&abandoned(), now));
            }
        }
    }

    #[test]
    fn answered_streams_make_up_for_resets() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        for _ in 0..BURST * 4 {
            assert!(!calm.flooded(&abandoned(), start));
            assert!(!calm.flooded(&Left::default(), start));
        }
    }
}
