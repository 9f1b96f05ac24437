//! The time, as a seam for tests.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time since 1970, which never goes back while the process lives.
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> Duration;
}

/// The machine's clock at the start, and what has passed since.
///
/// Times of it can be written to a file and compared after a restart.
#[derive(Debug)]
pub(crate) struct SystemClock {
    started: Instant,
    at: Duration,
}

impl SystemClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            // A clock before 1970 counts as 1970: only differences matter.
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.at + self.started.elapsed()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock that goes when it is told to.
    #[derive(Debug, Default)]
    pub(crate) struct Hand(AtomicU64);

    impl Hand {
        pub(crate) fn pass(&self, time: Duration) {
            self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Duration {
            Duration::from_secs(1_000_000 + self.0.load(Ordering::Relaxed))
        }
    }
}
