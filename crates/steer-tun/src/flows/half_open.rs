//! Connections that have only begun.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::Flow;

/// Connections of which the client has not acknowledged the answer, the oldest first; and some that
/// were once.
#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    waiting: VecDeque<Weak<Flow>>,
}

impl HalfOpen {
    /// Adds one. Returned are those that are too many.
    pub(super) fn add(&mut self, flow: &Arc<Flow>) -> Vec<Arc<Flow>> {
        self.waiting.push_back(Arc::downgrade(flow));
        if self.waiting.len() <= MOST * 2 {
            return Vec::new();
        }
        // Every so often, so that each costs little.
        let is_waiting = |flow: &Weak<Flow>| flow.upgrade().is_some_and(|flow| flow.is_half_open());
        self.waiting.retain(is_waiting);
        let too_many = self.waiting.len().saturating_sub(MOST);
        self.waiting
            .drain(..too_many)
            .filter_map(|flow| flow.upgrade())
            .collect()
    }
}

/// How many there may be at least; at most there are twice as many.
const MOST: usize = 2048;
