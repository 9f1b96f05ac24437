//! How many errors may be sent (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4).

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// So many a second, and as many at once.
#[derive(Debug)]
pub(super) struct Allowance {
    most: u32,
    left: Mutex<(f64, Instant)>,
}

impl Allowance {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            left: Mutex::new((f64::from(most), Instant::now())),
        }
    }

    /// Whether one more may be sent.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *left;
        let most = f64::from(self.most);
        let gained = now.saturating_duration_since(last).as_secs_f64() * most;
        let tokens = (tokens + gained).min(most);
        let enough = tokens >= 1.0;
        *left = (if enough { tokens - 1.0 } else { tokens }, now.max(last));
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_time() {
        let allowance = Allowance::new(100);
        let start = Instant::now() + Duration::from_secs(1);
        let taken = |at: Instant| (0..1000).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(start), 100);
        assert_eq!(taken(start), 0);
        assert_eq!(taken(start + Duration::from_millis(105)), 10);
        assert_eq!(taken(start + Duration::from_secs(60)), 100);
        assert_eq!(taken(start), 0, "time that goes back brings nothing");
    }
}
