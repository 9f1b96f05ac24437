//! Requests, counted by what was answered, and by whose doing.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Counts requests by their class of status, upstream and rule.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By upstream, then by rule.
    by: RwLock<HashMap<String, HashMap<String, Arc<Classes>>>>,
    /// How many pairs there are.
    pairs: AtomicUsize,
}

type Classes = [AtomicU64; CLASSES.len()];

/// The first digit of a status, and what was answered nothing.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Pairs of upstream and rule that are told apart; a configuration can have tens of thousands.
const MOST_PAIRS: usize = 2000;

const OTHER: &str = "other";

impl Requests {
    pub(super) fn count(&self, status: Option<u16>, rule: Option<&str>, upstream: &str) {
        let class = match status {
            Some(status @ 100..600) => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        self.classes(rule.unwrap_or(""), upstream)[class].fetch_add(1, Relaxed);
    }

    /// Every class, upstream and rule that a request had, with how many had it, in order.
    pub(super) fn read(&self) -> Vec<([String; 3], u64)> {
        let by = self.by.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (upstream, rules) in &*by {
            for (rule, classes) in rules {
                for (class, count) in CLASSES.iter().zip(classes.iter()) {
                    let labels = [(*class).to_owned(), upstream.clone(), rule.clone()];
                    all.push((labels, count.load(Relaxed)));
                }
            }
        }
        all.retain(|(_, count)| *count > 0);
        all.sort_unstable();
        all
    }

    fn classes(&self, rule: &str, upstream: &str) -> Arc<Classes> {
        let by = self.by.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by.get(upstream).and_then(|rules| rules.get(rule)) {
            return Arc::clone(known);
        }
        drop(by);
        let mut by = self.by.write().unwrap_or_else(PoisonError::into_inner);
        let (rule, upstream) = match self.pairs.load(Relaxed) < MOST_PAIRS {
            true => (rule, upstream),
            false => (OTHER, OTHER),
        };
        let rules = by.entry(upstream.to_owned()).or_default();
        let classes = rules.entry(rule.to_owned()).or_insert_with(|| {
            self.pairs.fetch_add(1, Relaxed);
            Arc::default()
        });
        Arc::clone(classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rules_than_anybody_reads_are_counted_together() {
        let requests = Requests::default();
        for number in 0..3 * MOST_PAIRS {
            requests.count(Some(200), Some(&format!("r{number}")), "direct");
        }
        let all = requests.read();
        assert_eq!(all.len(), MOST_PAIRS + 1);
        let total: u64 = all.iter().map(|(_, count)| count).sum();
        assert_eq!(total, 3 * MOST_PAIRS as u64);
        assert!(all.iter().any(|(labels, _)| labels[2] == OTHER));
    }

    #[test]
    fn a_status_that_is_none_is_of_no_class() {
        let requests = Requests::default();
        for status in [None, Some(0), Some(99), Some(600)] {
            requests.count(status, None, "direct");
        }
        let labels = ["none", "direct", ""].map(str::to_owned);
        assert_eq!(requests.read(), [(labels, 4)]);
    }
}
