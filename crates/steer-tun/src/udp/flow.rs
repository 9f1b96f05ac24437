//! What is known of the client of a flow.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::wire::Hop;

/// The two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// What is known of the way to the client of a flow.
#[derive(Debug)]
pub(super) struct State {
    /// The hop that its last packet came from, as [`packed`].
    hop: AtomicU64,
    longest: AtomicUsize,
    gone: AtomicBool,
}

impl State {
    pub(super) fn new(hop: Hop) -> Self {
        Self {
            hop: AtomicU64::new(packed(hop)),
            longest: AtomicUsize::new(usize::MAX),
            gone: AtomicBool::new(false),
        }
    }

    /// Another packet came from a hop.
    pub(super) fn seen(&self, hop: Hop) {
        let hop = packed(hop);
        if self.hop.load(Relaxed) != hop {
            self.hop.store(hop, Relaxed);
        }
    }

    pub(super) fn hop(&self) -> Hop {
        match self.hop.load(Relaxed).to_be_bytes() {
            [0, _, mac @ ..] => Hop::Station(mac),
            _ => Hop::Host,
        }
    }

    /// Takes that no packet longer than this arrives, so far as a link may be that narrow.
    pub(super) fn narrow(&self, longest: usize) {
        self.longest.fetch_min(longest.max(NARROWEST), Relaxed);
    }

    /// The longest packet that arrives.
    ///
    /// # Errors
    /// Nobody is there.
    pub(super) fn longest(&self) -> io::Result<usize> {
        if self.gone.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self.longest.load(Relaxed))
    }

    pub(super) fn end(&self) {
        self.gone.store(true, Relaxed);
    }
}

const fn packed(hop: Hop) -> u64 {
    match hop {
        Hop::Host => u64::MAX,
        Hop::Station([a, b, c, d, e, f]) => u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
    }
}

/// What every link of IPv6 carries (RFC 8200, section 5).
const NARROWEST: usize = 1280;
