//! Flows for which there is no place.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use steer_core::steered::{Flow, Refusal, Steered};

/// Counts flows that are refused, and says so now and then: whoever sends datagrams from made-up
/// addresses begins a flow with each of them.
#[derive(Debug, Default)]
pub(super) struct Flood {
    refused: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Flood {
    /// Refuses a flow, without a task or a record of its own.
    pub(super) fn refuse(&self, steered: Steered, limit: usize) {
        if let Flow::Udp(mut flow) = steered.flow {
            flow.refuse(Refusal::Busy);
        }
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| now - last >= WARN_EVERY) {
            *warned = Some(now);
            tracing::warn!(limit, refused, "UDP flows are refused: the engine is full");
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// The least time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);
