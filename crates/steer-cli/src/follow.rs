//! Names that the rules follow: what is known of their addresses, and who tells the rules.
//!
//! ```text
//! answers that programs get ─┐
//! names looked up again ─────┴─> Learner ─(somebody waits)─> Following ─(all that is known)─> Rules
//! ```
//!
//! What is known and what the rules know are two things: an address that they could not be told
//! is told again, until they know it.

mod following;
mod lookups;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use steer::core::address::HostPattern;
use steer::core::intent::{Intent, OnFailure};
use steer::core::names::{Follower, Learned, NotFollowed};
use steer::core::plan::Plan;
use steer::core::symbol::{Followed, NameSet};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

pub(crate) use following::{Following, Rules};

/// Learns the addresses of names that a plan follows.
#[derive(Clone, Debug)]
pub(crate) struct Learner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    patterns: BTreeMap<NameSet, Vec<HostPattern>>,
    otherwise: OnFailure,
    state: Mutex<State>,
    waiting: mpsc::Sender<Waiter>,
}

#[derive(Debug, Default)]
struct State {
    /// Each set's addresses with when an answer last named them.
    known: BTreeMap<NameSet, HashMap<IpAddr, Instant>>,
    /// What the rules know.
    applied: Followed,
}

/// Told when the rules know all that was known when it was sent; dropped where they do not.
type Waiter = oneshot::Sender<()>;

/// The names that a plan follows; none where it follows none.
pub(crate) fn of(intent: &Intent, plan: &Plan) -> Option<(Learner, Following)> {
    let patterns: BTreeMap<_, _> = plan
        .followed()
        .into_iter()
        .map(|set| {
            let filter = match set {
                NameSet::Included => &intent.traffic.include,
                NameSet::Excluded => &intent.traffic.exclude,
            };
            (set, filter.domains.clone())
        })
        .collect();
    (!patterns.is_empty()).then(|| pair(patterns, intent.failure()))
}

fn pair(
    patterns: BTreeMap<NameSet, Vec<HostPattern>>,
    otherwise: OnFailure,
) -> (Learner, Following) {
    let (waiting, waiters) = mpsc::channel(WAITING);
    let learner = Learner(Arc::new(Inner {
        patterns,
        otherwise,
        state: Mutex::default(),
        waiting,
    }));
    (learner.clone(), Following::new(learner, waiters))
}

/// Which of the sets that an answer concerns the rules do not know in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacking {
    Nothing,
    /// What is excluded would be steered, or refused: nothing gets out.
    Excluded,
    /// What is included would get out.
    Included,
}

impl Learner {
    /// Notes what was learned, and tells what of it the rules do not know.
    fn note(&self, learned: &Learned, at: Instant) -> Lacking {
        let mut state = self.state();
        let State { known, applied } = &mut *state;
        let mut lacking = Lacking::Nothing;
        for (set, patterns) in &self.0.patterns {
            if !patterns.iter().any(|p| p.matches(&learned.name)) {
                continue;
            }
            let addresses = known.entry(*set).or_default();
            addresses.extend(learned.addresses.iter().map(|ip| (*ip, at)));
            let told = applied.entry(*set).or_default();
            if learned.addresses.iter().any(|ip| !told.contains(ip)) {
                forget(addresses, at);
                lacking = match (set, lacking) {
                    (NameSet::Included, _) | (_, Lacking::Included) => Lacking::Included,
                    (NameSet::Excluded, _) => Lacking::Excluded,
                };
            }
        }
        lacking
    }

    /// All that is known.
    fn known(&self) -> Followed {
        let state = self.state();
        let known = state.known.iter();
        known
            .map(|(set, known)| (*set, known.keys().copied().collect()))
            .collect()
    }

    /// The rules know these.
    fn applied(&self, names: Followed) {
        self.state().applied = names;
    }

    /// Waits until the rules know what is known, for a bounded time.
    async fn told(&self) -> bool {
        let told = async {
            let (told_tx, told) = oneshot::channel();
            self.0.waiting.send(told_tx).await.is_ok() && told.await.is_ok()
        };
        timeout(PATIENCE, told).await.unwrap_or(false)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps are valid after every statement, so a panic elsewhere leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what no answer has named for long, and the oldest of what is too much.
fn forget(addresses: &mut HashMap<IpAddr, Instant>, at: Instant) {
    addresses.retain(|_, last| at.saturating_duration_since(*last) < KEPT);
    while addresses.len() > MOST {
        let oldest = addresses.iter().min_by_key(|(_, last)| **last);
        let Some(ip) = oldest.map(|(ip, _)| *ip) else {
            return;
        };
        addresses.remove(&ip);
    }
}

#[async_trait]
impl Follower for Learner {
    async fn learned(&self, learned: &Learned) -> Result<(), NotFollowed> {
        let lacking = self.note(learned, Instant::now());
        if lacking == Lacking::Nothing || self.told().await {
            return Ok(());
        }
        if self.0.waiting.is_closed() {
            tracing::debug!(name = %learned.name, "the steering ends: names are not followed");
        } else {
            tracing::warn!(name = %learned.name, "the rules do not know its addresses yet");
        }
        match (lacking, self.0.otherwise) {
            (Lacking::Included, OnFailure::Closed) => Err(NotFollowed),
            _ => Ok(()),
        }
    }
}

/// Answers that wait for the rules.
const WAITING: usize = 64;

/// How long an address is followed that no answer names any more: programs keep connections and
/// answers far longer than a time to live says.
const KEPT: Duration = Duration::from_secs(3600);

/// The most addresses of a set; the kernel looks at them one list a rule.
const MOST: usize = 4096;

/// How long an answer is held back for the rules.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
