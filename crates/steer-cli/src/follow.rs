//! Names that the rules follow: what is known of their addresses, and who tells the rules.
//!
//! ```text
//! answers that programs get ─┐
//! names looked up again ─────┴─> Learner ─(what changed)─> Changes ─> Engaged::follow
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use steer::core::address::{HostName, HostPattern};
use steer::core::intent::Intent;
use steer::core::names::{Follower, Learned};
use steer::core::plan::Plan;
use steer::core::symbol::{Followed, NameSet};
use steer::proxy::upstream::Resolver;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// What is to become of the rules: the addresses, and whom to tell when they know them.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) names: Followed,
    done: oneshot::Sender<()>,
}

impl Change {
    /// The rules know the addresses.
    pub(crate) fn done(self) {
        // Whoever waited may have given up.
        let _ = self.done.send(());
    }
}

/// Learns the addresses of names that a plan follows.
#[derive(Clone, Debug)]
pub(crate) struct Learner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    patterns: BTreeMap<NameSet, Vec<HostPattern>>,
    known: Mutex<Known>,
    changes: mpsc::Sender<Change>,
}

/// Each set's addresses with when an answer last named them.
type Known = BTreeMap<NameSet, HashMap<IpAddr, Instant>>;

/// The names that a plan follows; none where it follows none.
pub(crate) fn of(intent: &Intent, plan: &Plan) -> Option<(Learner, mpsc::Receiver<Change>)> {
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
    if patterns.is_empty() {
        return None;
    }
    let (changes_tx, changes) = mpsc::channel(WAITING);
    let inner = Inner {
        patterns,
        known: Mutex::default(),
        changes: changes_tx,
    };
    Some((Learner(Arc::new(inner)), changes))
}

impl Learner {
    /// Looks up the names that are written out, again and again; never returns.
    ///
    /// A pattern with a star stands for names that nobody can list: those are learned from answers
    /// alone.
    pub(crate) async fn refresh(self, resolver: impl Resolver) {
        let names: BTreeSet<HostName> = self
            .0
            .patterns
            .values()
            .flatten()
            .filter_map(|pattern| match pattern {
                HostPattern::Exact(name) => Some(name.clone()),
                HostPattern::Below(_) => None,
            })
            .collect();
        loop {
            for name in &names {
                match timeout(LOOKUP, resolver.resolve(name, 0)).await {
                    Ok(Ok(found)) => {
                        let learned = Learned {
                            name: name.clone(),
                            addresses: found.iter().map(|to| to.ip().to_canonical()).collect(),
                        };
                        self.learned(&learned).await;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%name, %error, "a followed name has no address");
                    }
                    Err(_) => tracing::debug!(%name, "a followed name could not be looked up"),
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Notes what was learned; the whole of it where an address is known for the first time.
    fn note(&self, learned: &Learned, at: Instant) -> Option<Followed> {
        let Inner {
            patterns, known, ..
        } = &*self.0;
        // A map is valid after every statement, so a panic elsewhere leaves nothing half done.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = false;
        for (set, patterns) in patterns {
            if !patterns.iter().any(|p| p.matches(&learned.name)) {
                continue;
            }
            let addresses = known.entry(*set).or_default();
            for ip in &learned.addresses {
                fresh |= addresses.insert(*ip, at).is_none();
            }
            if fresh {
                forget(addresses, at);
            }
        }
        fresh.then(|| {
            known
                .iter()
                .map(|(set, known)| (*set, known.keys().copied().collect()))
                .collect()
        })
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
    async fn learned(&self, learned: &Learned) {
        let Some(names) = self.note(learned, Instant::now()) else {
            return;
        };
        let (done_tx, done) = oneshot::channel();
        let change = Change {
            names,
            done: done_tx,
        };
        let told = async {
            if self.0.changes.send(change).await.is_ok() {
                // An error means that the steering stops.
                let _ = done.await;
            }
        };
        if timeout(PATIENCE, told).await.is_err() {
            tracing::warn!(name = %learned.name, "the rules do not know its addresses yet");
        }
    }
}

/// Changes that wait for the rules.
const WAITING: usize = 64;

/// How long an address is followed that no answer names any more: programs keep connections and
/// answers far longer than a time to live says.
const KEPT: Duration = Duration::from_secs(3600);

/// The most addresses of a set; the kernel looks at them one list a rule.
const MOST: usize = 4096;

/// How often names that are written out are looked up.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a lookup may take.
const LOOKUP: Duration = Duration::from_secs(5);

/// How long an answer is held back for the rules.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn learner(pattern: &str) -> (Learner, mpsc::Receiver<Change>) {
        let (changes_tx, changes) = mpsc::channel(1);
        let patterns = BTreeMap::from([(NameSet::Included, vec![pattern.parse().unwrap()])]);
        let inner = Inner {
            patterns,
            known: Mutex::default(),
            changes: changes_tx,
        };
        (Learner(Arc::new(inner)), changes)
    }

    fn learned(name: &str, address: [u8; 4]) -> Learned {
        Learned {
            name: name.parse().unwrap(),
            addresses: vec![IpAddr::from(address)],
        }
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_rules_only_when_it_brings_an_address_that_they_lack() {
        let (learner, mut changes) = learner("*.example.com");
        learner
            .learned(&learned("example.net", [192, 0, 2, 1]))
            .await;
        assert!(changes.try_recv().is_err(), "not a name that is followed");
        let first = learned("a.example.com", [192, 0, 2, 2]);
        let told = tokio::spawn({
            let (learner, first) = (learner.clone(), first.clone());
            async move { learner.learned(&first).await }
        });
        let change = changes.recv().await.unwrap();
        assert!(!told.is_finished());
        assert_eq!(change.names[&NameSet::Included].len(), 1);
        change.done();
        told.await.unwrap();
        learner.learned(&first).await;
        assert!(changes.try_recv().is_err(), "known already");
    }

    #[tokio::test]
    async fn what_is_not_answered_any_more_is_forgotten_and_the_set_is_bounded() {
        let (learner, _changes) = learner("*.example.com");
        let at = Instant::now();
        let old = learner.note(&learned("a.example.com", [192, 0, 2, 1]), at);
        assert_eq!(old.unwrap()[&NameSet::Included].len(), 1);
        let later = at + KEPT;
        let names = learner.note(&learned("b.example.com", [192, 0, 2, 2]), later);
        assert_eq!(names.unwrap()[&NameSet::Included].len(), 1);
        let many = Learned {
            name: "c.example.com".parse().unwrap(),
            addresses: (0..5000_u32)
                .map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
                .collect(),
        };
        let names = learner.note(&many, later).unwrap();
        assert_eq!(names[&NameSet::Included].len(), MOST);
    }
}
