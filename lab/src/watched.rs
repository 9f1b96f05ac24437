//! A shared value whose changes can be awaited with a deadline.

use std::fmt::Debug;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long everything in the lab may take before it counts as not happening.
///
/// It is no expectation of speed: loaded machines are slow, and a passing test never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Tries again until `attempt` gives a value, and panics saying `what` after the [`DEADLINE`].
///
/// For state that announces no change, such as a file of `/proc`; whatever can be waited on is waited on.
pub fn eventually<R>(what: &str, mut attempt: impl FnMut() -> Option<R>) -> R {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// The first value that `look` finds, or `None` after `within`.
    pub(crate) fn wait<R>(
        &self,
        within: Duration,
        mut look: impl FnMut(&T) -> Option<R>,
    ) -> Option<R> {
        let end = Instant::now() + within;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            value = self
                .changed
                .wait_timeout(value, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    // A panicking assertion inside `look` must not turn every later report into a poison error.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Debug> Watched<T> {
    /// As [`Self::wait`] for a condition within the deadline; panics with the last value.
    pub(crate) fn expect<R>(&self, what: &str, look: impl FnMut(&T) -> Option<R>) -> R {
        match self.wait(DEADLINE, look) {
            Some(found) => found,
            None => {
                self.read(|value| panic!("not within {DEADLINE:?}: {what}; last seen: {value:#?}"))
            }
        }
    }
}
