//! How long things took, counted by bounds.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts durations that are at most as long as each of some bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    /// In milliseconds, in order.
    bounds: &'static [u64],
    /// Those that are above the bound before and not above this one; the last are above all.
    counts: Box<[AtomicU64]>,
    /// In microseconds: 500,000 years fit.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, took: Duration) {
        let within = |bound: &u64| took <= Duration::from_millis(*bound);
        let place = self.bounds.iter().position(within);
        self.counts[place.unwrap_or(self.bounds.len())].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// Each bound in seconds, as text, with how many were not above it; all of them; their sum.
    pub(super) fn read(&self) -> (Vec<(String, u64)>, u64, f64) {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            total += count.load(Relaxed);
            buckets.push((seconds(*bound), total));
        }
        total += self.counts[self.bounds.len()].load(Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum for people and their graphs"
        )]
        let sum = self.sum.load(Relaxed) as f64 / 1e6;
        (buckets, total, sum)
    }
}

fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    match rest {
        0 => format!("{whole}.0"),
        _ => format!("{whole}.{rest:03}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_all_that_is_not_above_it() {
        let histogram = Histogram::new(&[1, 25, 1000]);
        for micros in [0, 1000, 1001, 25_000, 999_000, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (buckets, total, sum) = histogram.read();
        let expected = [("0.001", 2), ("0.025", 4), ("1.0", 5)];
        let expected: Vec<_> = expected.map(|(b, n)| (b.to_owned(), n)).to_vec();
        assert_eq!((buckets, total), (expected, 6));
        assert!((sum - 6.026_001).abs() < 1e-9, "{sum}");
    }
}
