//! What is noted about an inspected connection while it lives.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use steer_core::address::HostName;
use steer_core::policy::App;

use super::super::entry::Route;
use super::way::Way;
use crate::record::Outcome;
use crate::relay::Traffic;

/// What is noted about an inspected connection: by its legs and its requests, for its record.
#[derive(Debug, Default)]
pub(in crate::engine) struct Seen {
    /// What the program sent and received, to the byte.
    pub(in crate::engine) traffic: Traffic,
    requests: AtomicU64,
    /// Whether the session has become a connection of another protocol.
    upgraded: AtomicBool,
    notes: Mutex<Notes>,
}

/// What requests leave for the connection's record, and for each other.
#[derive(Debug, Default)]
pub(in crate::engine) struct Notes {
    /// What was spoken, once a session began.
    pub(in crate::engine) app: Option<App>,
    /// Whether TLS was opened.
    pub(in crate::engine) opened: bool,
    /// The host of the first request.
    pub(in crate::engine) host: Option<HostName>,
    /// The rule of the last request.
    pub(in crate::engine) rule: Option<String>,
    /// The way of the last request.
    pub(in crate::engine) route: Option<Route>,
    /// Ways that could not be opened, the last ones, and why.
    failed: Vec<(Way, Outcome, String)>,
}

impl Seen {
    pub(in crate::engine) fn notes(&self) -> MutexGuard<'_, Notes> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests there were; none where nobody looked for any.
    pub(in crate::engine) fn requests(&self) -> Option<u64> {
        let looked = self.notes().app.is_some();
        looked.then(|| self.requests.load(Relaxed))
    }

    /// A request has come; gives its number.
    pub(super) fn began(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn has_upgraded(&self) {
        self.upgraded.store(true, Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    /// A request names a host; the first one's is noted.
    pub(super) fn names(&self, host: Option<&HostName>) {
        let first = &mut self.notes().host;
        if first.is_none() {
            *first = host.cloned();
        }
    }

    /// Notes that a way could not be opened.
    pub(super) fn failed(&self, way: &Way, outcome: Outcome, why: String) {
        let failed = &mut self.notes().failed;
        failed.retain(|(known, _, _)| known != way);
        if failed.len() == MOST_FAILED {
            failed.remove(0);
        }
        failed.push((way.clone(), outcome, why));
    }

    /// Why a way could not be opened when that was tried last.
    pub(super) fn failure(&self, way: &Way) -> Option<(Outcome, String)> {
        let notes = self.notes();
        let mut failed = notes.failed.iter();
        let found = failed.find(|(known, _, _)| known == way);
        found.map(|(_, outcome, why)| (*outcome, why.clone()))
    }

    /// A way could be opened.
    pub(super) fn opened(&self, way: &Way) {
        self.notes().failed.retain(|(known, _, _)| known != way);
    }
}

/// Failed ways that are remembered: requests of HTTP/2 overlap.
const MOST_FAILED: usize = 16;
