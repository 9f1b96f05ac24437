//! What tells one connection from another in the records.
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// The number of a connection: no other one of this process has it, whichever engine took it.
///
/// ```
/// use steer_proxy::record::ConnectionId;
///
/// assert_ne!(ConnectionId::next(), ConnectionId::next());
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The number of the connection that came last.
    pub fn next() -> Self {
        // Engines of a process may share a log, so they share the numbers too.
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Relaxed) + 1)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
